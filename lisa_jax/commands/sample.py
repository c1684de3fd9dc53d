"""Sample images with trained side networks: over a data set, or for prompts and condition pictures.

    python -m lisa_jax sample --workdir=DIR --out=OUT [--split=test] [--num=32]
    python -m lisa_jax sample --workdir=DIR --out=OUT --prompt="a red house" --condition=house.png
    python -m lisa_jax sample --workdir=DIR --out=OUT --listing=rows.jsonl
    python -m lisa_jax sample --workdir=DIR --out=OUT --first_frame=house.png --condition=depth.mp4       of videos
    python -m lisa_jax sample --workdir=POSE,DEPTH --control_scale=1.0,0.5 ...     several, trained apart
    python -m lisa_jax sample --base=SD --controlnet=FOLDER[,FOLDER] ...           from folders of diffusers

Writes OUT/<index>.png, of videos .mp4 or as --format says, and OUT/grid.png. Sample i depends on (--seed, i), its
prompt and its conditions alone. The same command continues where it was stopped; OUT/settings.json keeps samples of
different settings apart.

The grid shows of the first 32 the conditions, the sample with control and without, the real picture where there is one
("decoded" where the data set keeps latents alone), and the caption. Those without control start from the same noise and
lie in OUT/without_control: up to 32 more samples, which --nowithout_control leaves out.

Several side networks, trained apart or together, take a condition each: --condition=a.png,b.png in their order, fields
condition_<name> in a listing. Numbers of --control_scale, --control_start and --control_end are in their order too, or
name=number. A listing is a .jsonl or .csv file with the fields prompt, condition and, if wanted, negative_prompt; of
videos first_frame, too.

A base of videos takes videos, or folders of frames, as conditions, of at least as many frames as it makes; --fps takes
them by their times. Where it goes on from a picture, --first_frame names that; prompts may be left out.

Condition pictures are read as `lisa_jax prepare` reads them. Each sample has its condition's aspect ratio and about as
many pixels as in training; where it cannot, or with --image_size=HEIGHTxWIDTH, the middle of the condition is used, and
that is said. Conditions in colours of classes are resized without mixing any: those that the data set knows as such,
and those of --nearest.
"""

from absl import flags

from lisa_jax.commands._condition_module import DEFINE_condition_module
from lisa_jax.commands._flags import COUNT, DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.drawing.sizes import SizeText
from lisa_jax.experiments.bounds import FACTOR, FRAMES, NEGATIVE_PROMPT, ROWS, SAMPLING_STEPS, SEED, WEIGHTS
from lisa_jax.experiments.kinds import Number, Text, Whole

flags.DEFINE_string("workdir", None, "Work directories of training runs beside the same base.")
DEFINE_checked(
    "base", None, "Base, a folder, a file or owner/name of the hub, with --controlnet for --workdir.", Text()
)
flags.DEFINE_string("controlnet", None, "ControlNets, folders, files or owner/name of the hub.")
DEFINE_checked("vae", None, "With --base: a VAE in place of its own, a folder, a file or a name of the hub.", Text())
flags.DEFINE_list("leave_out", [], "With --base: components that it is to do without, as text_encoder_3.")
DEFINE_checked("out", None, "Folder for the pictures.", Folder())
flags.DEFINE_enum("weights", "auto", WEIGHTS, "Which parameters of a run to use.")
flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "With --base: dtype of weights and compute.")
flags.DEFINE_enum("split", "test", ["train", "test"], "Split that conditions and captions come from.")
DEFINE_checked("num", 32, "Number of examples of the split, from the first on.", COUNT)
flags.DEFINE_multi_string("prompt", [], "A prompt in place of a split; may be repeated.")
flags.DEFINE_multi_string("condition", [], "The prompt's condition picture; several with commas between.")
flags.DEFINE_multi_string("first_frame", [], "Picture that a video begins with, where the base goes on from one.")
DEFINE_checked(
    "fps",
    None,
    "Frames a second of prompted videos, by which frames of conditions are taken; by default the conditions' own.",
    Number(least=0.01, most=1000.0),
)
DEFINE_checked(
    "motion",
    None,
    "Of prompted videos, where the base is told: how much moves (diffusers' motion_bucket_id), 127 by default.",
    Whole(0, 2**16),
)
DEFINE_checked("listing", None, "A .jsonl or .csv file of prompts and condition pictures.", Text())
DEFINE_checked(
    "image_size",
    None,
    "HEIGHTxWIDTH of prompted pictures, or one number for both; by default the condition's aspect ratio, with about as "
    "many pixels as in training.",
    SizeText(),
)
flags.DEFINE_list(
    "nearest", [], "Conditions whose colours are classes, beside those that the data set says: resized without mixing."
)
flags.DEFINE_enum("sampler", None, ["ddim", "euler", "dpmpp_2m"], "The run's by default, as for those below.")
DEFINE_checked("num_steps", None, "Sampling steps.", SAMPLING_STEPS)
DEFINE_checked("guidance_scale", None, "Classifier-free guidance; 1 is none.", FACTOR)
DEFINE_checked(
    "min_guidance_scale", None, "Of a video's first frame: it rises to --guidance_scale of the last.", FACTOR
)
DEFINE_checked(
    "decode_chunk",
    None,
    "Frames of a video that are decoded together; another number gives other videos, fewer take less memory.",
    FRAMES,
)
DEFINE_checked("negative_prompt", None, "What guidance leads away from.", NEGATIVE_PROMPT)
flags.DEFINE_list("control_scale", None, "Factor on the side network's residuals.")
flags.DEFINE_list("control_start", None, "Share of the steps after which control sets in.")
flags.DEFINE_list("control_end", None, "Share of the steps after which control ends.")
flags.DEFINE_bool("guess_mode", None, "Control of the prompted prediction alone, as in diffusers.")
flags.DEFINE_bool("without_control", True, "Sample the grid's examples, 32 at most, without control too.")
flags.DEFINE_enum(
    "format", None, ["png", "mp4", "gif"], "Of samples; of videos mp4 by default, and png is a folder of frames each."
)
DEFINE_checked("seed", 0, "Sample i depends on (seed, i) alone.", SEED)
DEFINE_checked("batch_size", None, "Examples at a time; changes no image.", ROWS)
DEFINE_condition_module()


def main() -> None:
    from lisa_jax.commands._work import sample

    sample.main()


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    run_command(main, kept="leaving; finished pictures are kept, and the same command draws the others.")
