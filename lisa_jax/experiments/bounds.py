"""What fields of configs and flags of commands have in common: bounds of numbers, and choices.

It imports nothing that takes time, so that `--help` and a wrong flag are answered at once.
"""

from lisa_jax.experiments.kinds import ByName, Choice, ConditionName, Either, Number, Several, Text, Whole

SEED = Whole(0, 2**32 - 1)
ROWS = Whole(1, 2**16)
# Examples that are held in memory at once, to be shown.
SHOWN = Whole(1, 1024)
STEPS = Whole(1, 10**9)
SHARE = Number(least=0, most=1)
DECAY = Number(least=0, below=1)
FACTOR = Number(least=0, most=1000)
SIDE = Whole(1, 8192)
SCALE = Either((FACTOR, ByName(FACTOR)))
MOMENT = Either((SHARE, ByName(SHARE)))
DTYPE = Choice(("float32", "bfloat16"))
HOOK = Either((Text(), Several(Text())))
CONDITION = Either((ConditionName(), Several(ConditionName())))
# Embedded pictures are drawn in whatever size is asked for, a few thousand of them.
EMBEDDED_SIDE = Whole(8, 512)
# Frames, height and width of embedded clips.
EMBEDDED_CLIP = Several(Whole(2, 512), 3, 3)

# Of parts of what trains, over the learning rate of the rest.
RATE = Number(above=0, most=1e6)
SAMPLING_STEPS = Whole(1, 10_000)
# Of a video, that are decoded together.
FRAMES = Whole(1, 1024)
NEGATIVE_PROMPT = Text(empty=True)
# Of a study; more than anybody runs.
MOST_CELLS = 10_000
# Which parameters of a run are read: of its newest checkpoint the moving average where there is one, and else the
# parameters themselves (auto), either by its name; or of its best checkpoint what auto is of the newest.
WEIGHTS = ("auto", "ema", "raw", "best")
