"""What commands find where they go on: folders of earlier, interrupted or other commands, damaged."""

import random
from collections.abc import Callable
from pathlib import Path

from fuzz import damage
from fuzz.case import Case, Mutation, Right, drawn
from fuzz.world import World, by_one, copied, prepare_command, train_command


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A folder that was left and mutated, and the command that goes on in it."""
    inputs.mkdir(parents=True)
    return drawn(rng, KINDS)(rng, world, inputs)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _damaged(rng: random.Random, path: Path) -> str:
    return (damage.json_of if path.suffix in (".json", ".jsonl") else damage.bytes_of)(rng, path)


def sample(rng: random.Random, world: World, inputs: Path) -> Case:
    """Samples, of which one is missing or not."""
    flags = ("sample", f"--workdir={world.run}", "--num=2", "--num_steps=1", "--batch_size=1")
    valid = ("sample_split", (*flags, "--out={out}"))
    world.valid(*valid)
    out = copied(world.folder / "valid" / "sample_split", inputs / "out")
    if rng.random() < 0.5:
        (out / "00001.png").unlink()
    path = rng.choice(_files(out))
    how = _damaged(rng, path)
    mutation = Mutation(f"samples: {path.name}: {how}", Right.EITHER, (path.name,))
    return Case.of(mutation, (*flags, f"--out={out}"), out, valid)


def prepare(rng: random.Random, world: World, inputs: Path) -> Case:
    """A data set that was half prepared."""
    command = by_one(world.table)
    for path in world.half_prepared.iterdir():
        copied(path, inputs / path.name)
    files = _files(inputs)
    if files:
        path = rng.choice(files)
        what = f"half prepared: {path.relative_to(inputs)}: {_damaged(rng, path)}"
        named = (path.name, path.parent.name)
    else:
        what, named = "half prepared: nothing", ("out",)
    out, valid = inputs / "out", ("prepare_by_one", (*command, "--out={out}"))
    return Case.of(Mutation(what, Right.EITHER, named), (*command, f"--out={out}"), out, valid)


def export(rng: random.Random, world: World, inputs: Path) -> Case:
    """An export of before, damaged."""
    out = copied(world.controlnet, inputs / "out")
    path = rng.choice(_files(out))
    how = _damaged(rng, path)
    valid = ("export_run", ("export", f"--workdir={world.run}", "--out={out}"))
    mutation = Mutation(f"an export of before: {path.name}: {how}", Right.EITHER, (path.name, out.name))
    return Case.of(mutation, ("export", f"--workdir={world.run}", f"--out={out}"), out, valid)


def train(rng: random.Random, world: World, inputs: Path) -> Case:
    """A run that goes on."""
    run = copied(world.run, inputs / "run")
    path = rng.choice([path for path in _files(run) if path.parent == run or path.parent.parent.parent == run])
    how = _damaged(rng, path)
    named = (path.name, path.parent.name, "checkpoints")
    command = train_command(world.base, run, num_steps=1)
    # Another number of steps, and perhaps settings, than the run's.
    return Case.of(Mutation(f"train in a run: {path.relative_to(run)}: {how}", Right.ANY, named), command, None)


def other(rng: random.Random, world: World, inputs: Path) -> Case:
    """What another command has left."""
    places = {"a run": world.run, "a base": world.base, "an export": world.controlnet, "a data set": world.prepared}
    kind = rng.choice(list(places))
    out = copied(places[kind], inputs / "out")
    commands = {
        "prepare": (*prepare_command(world.table), f"--out={out}"),
        "new_base": ("new_base", "--preset=tiny_sd15", f"--out={out}"),
        "sample": ("sample", f"--workdir={world.run}", "--num=1", "--num_steps=1", f"--out={out}"),
    }
    command = rng.choice(list(commands))
    right = Right.ANY if command == "sample" else Right.REFUSED
    return Case.of(Mutation(f"{command} into {kind}", right, (out.name,)), commands[command], None)


def lock(rng: random.Random, world: World, inputs: Path) -> Case:
    """A lock that is left, or is none."""
    run = copied(world.run, inputs / "run")
    found = sorted(path for path in run.iterdir() if "lock" in path.name)
    path = found[0] if found else run / ".lock"
    path.write_text(rng.choice(["", "x", "[1]", '{"pid": "x"}', '{"pid": 1, "host": "elsewhere"}', "9" * 400]))
    how = _damaged(rng, path) if rng.random() < 0.5 and path.stat().st_size > 2 else "of nobody"
    command = train_command(world.base, run, num_steps=1)
    return Case.of(Mutation(f"a lock: {how}", Right.ANY, (path.name, run.name)), command, None)


KINDS: dict[Callable[[random.Random, World, Path], Case], int] = {
    sample: 6,
    prepare: 8,
    export: 4,
    train: 2,
    other: 5,
    lock: 1,
}
