"""Work directories of runs: damaged checkpoints, steps under other numbers, edited configs and logs."""

import random
from pathlib import Path

from fuzz.case import Case, Command, Right, drawn
from fuzz.runs import logs, settings, steps
from fuzz.world import QUICK_GRID, World, copied

KINDS = steps.KINDS | settings.KINDS | logs.KINDS
# What a command says that does not take the newest checkpoint.
TOLD = ("cannot be read", "set aside", "left alone", "is not step", "damaged")


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A work directory that was mutated, and a command that reads it."""
    kind = drawn(rng, KINDS)
    run = copied(world.run, inputs / "run")
    what, right, named = kind(rng, run)
    # By what they cost.
    command = rng.choice(["export"] * 6 + ["sample"] * 2 + ["evaluate", "report"])
    out = inputs / "out"
    if command == "report":
        # It reads no checkpoint, and leaves out of the page what a folder lacks.
        right = Right.ANY
    valid = (f"{command}_run", _reader(world, command, world.run, "{out}"))
    reader = _reader(world, command, run, str(out))
    return Case(f"{what}; {command}", (reader,), right, named, TOLD, out, valid)


def _reader(world: World, command: str, run: Path, out: str) -> Command:
    flags = {
        "sample": (f"--workdir={run}", "--prompt=a cat", f"--condition={world.picture}", "--num_steps=1", QUICK_GRID),
        "evaluate": (f"--workdir={run}", "--num=2"),
        "report": (str(run),),
        "export": (f"--workdir={run}",),
    }
    return (command, *flags[command], f"--out={out}")
