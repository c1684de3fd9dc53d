"""Folders and files with odd names, given to whatever takes a path."""

import random
from collections.abc import Callable
from pathlib import Path

from fuzz.case import Case, Command, Right, Valid
from fuzz.groups import prepared_sets
from fuzz.sources import folder, tar
from fuzz.world import QUICK_GRID, World, copied, prepare_command, sample_command, train_command

NAMES = (
    *("a[1]", "a[b", "a]b", "[a]", "a*", "**", "a?", "{a}", "a,b", "a b", "a\nb", "ä猫", "a'b", 'a"b', "$HOME", "~"),
    *("a=b", "a:b", "a#b", "a%20b", "-a", "a\\b", "a;b", "a@2", "a" * 250, " a", "a ", "a&b", "a\x1b[31mb"),
    *("a\udcffb", "parquet:a", "a.json", "1", "None", "a|b", "<a>", "a\tb", "{0}", "%s", "...", "a.parquet", "a.tar"),
    "checkpoints",
)


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """An odd name, and a command that is given it."""
    name = rng.choice(NAMES)
    inputs.mkdir(parents=True)
    return rng.choice(KINDS)(world, inputs, name)


def _case(world: World, name: str, command: Command, valid: Valid, result: Path) -> Case:
    """A case whose result must be that of a valid command, if the name is not refused."""
    what = f"{command[0]} with {name!r} for {next(word for word in command if name in word).partition('=')[0]}"
    named = (name, repr(name)[1:-1])
    return Case(what, (command,), Right.EITHER, named, result=result, valid=valid)


def _prepared(world: World, name: str, source: Path, out: Path, whole: Path) -> Case:
    valid = (f"prepare_{whole.name}", (*prepare_command(whole), "--out={out}"))
    return _case(world, name, (*prepare_command(source), f"--out={out}"), valid, out)


def _sampled(world: World, name: str, out: Path, run: Path | None = None, condition: Path | None = None) -> Case:
    def sample(run: Path, condition: Path, out: Path | str) -> Command:
        given = ("--prompt=a cat", f"--condition={condition}", "--num_steps=1", QUICK_GRID)
        return ("sample", f"--workdir={run}", *given, f"--out={out}")

    valid = ("sample_run", sample(world.run, world.picture, "{out}"))
    return _case(world, name, sample(run or world.run, condition or world.picture, out), valid, out)


def _sampled_beside(world: World, name: str, out: Path, base: Path | None = None, net: Path | None = None) -> Case:
    valid = ("sample_base", (*sample_command(world.base, world.controlnet, world.picture), "--out={out}"))
    command = sample_command(base or world.base, net or world.controlnet, world.picture)
    return _case(world, name, (*command, f"--out={out}"), valid, out)


def _exported(world: World, name: str, run: Path, out: Path) -> Case:
    valid = ("export_run", ("export", f"--workdir={world.run}", "--out={out}"))
    return _case(world, name, ("export", f"--workdir={run}", f"--out={out}"), valid, out)


def workdir(world: World, inputs: Path, name: str) -> Case:
    """Trained in, and exported from."""
    run, out, whole = inputs / name, inputs / "out", "{out}.run"
    commands = (train_command(world.base, run), ("export", f"--workdir={run}", f"--out={out}"))
    export = ("export", f"--workdir={whole}", "--out={out}")
    valid = ("export_trained", train_command(world.base, whole), export)
    named = (name, repr(name)[1:-1])
    return Case(f"train and export with {name!r} for --workdir", commands, Right.EITHER, named, result=out, valid=valid)


def sampled_run(world: World, inputs: Path, name: str) -> Case:
    """A finished run that was put there, sampled."""
    return _sampled(world, name, inputs / "out", run=copied(world.run, inputs / name))


def sample_out(world: World, inputs: Path, name: str) -> Case:
    """Where samples go."""
    return _sampled(world, name, inputs / name)


def condition(world: World, inputs: Path, name: str) -> Case:
    """A condition picture."""
    return _sampled(world, name, inputs / "out", condition=copied(world.picture, inputs / f"{name}.png"))


def exported_run(world: World, inputs: Path, name: str) -> Case:
    """A finished run that was put there, exported."""
    return _exported(world, name, copied(world.run, inputs / name), inputs / "out")


def export_out(world: World, inputs: Path, name: str) -> Case:
    """Where an export goes."""
    return _exported(world, name, world.run, inputs / name)


def prepare_out(world: World, inputs: Path, name: str) -> Case:
    """Where prepared data go."""
    return _prepared(world, name, world.table, inputs / name, world.table)


def table(world: World, inputs: Path, name: str) -> Case:
    """A Parquet file."""
    return _prepared(world, name, copied(world.table, inputs / f"{name}.parquet"), inputs / "out", world.table)


def table_folder(world: World, inputs: Path, name: str) -> Case:
    """A folder of one."""
    copied(world.table, inputs / name / "table.parquet")
    return _prepared(world, name, inputs / name, inputs / "out", world.table)


def image_folder(world: World, inputs: Path, name: str) -> Case:
    """A folder of pictures."""
    folder.write(inputs / name)
    if not (world.folder / "pictures").exists():
        folder.write(world.folder / "pictures")
    return _prepared(world, name, inputs / name, inputs / "out", world.folder / "pictures")


def shards(world: World, inputs: Path, name: str) -> Case:
    """A folder of tars."""
    tar.write(inputs / name, list(tar.members().items()))
    if not (world.folder / "shards").exists():
        tar.write(world.folder / "shards", list(tar.members().items()))
    return _prepared(world, name, inputs / name, inputs / "out", world.folder / "shards")


def base(world: World, inputs: Path, name: str) -> Case:
    """A base."""
    return _sampled_beside(world, name, inputs / "out", base=copied(world.base, inputs / name))


def controlnet(world: World, inputs: Path, name: str) -> Case:
    """A ControlNet folder."""
    return _sampled_beside(world, name, inputs / "out", net=copied(world.controlnet, inputs / name))


def data(world: World, inputs: Path, name: str) -> Case:
    """A prepared data set."""
    found, out = copied(world.prepared, inputs / name), inputs / "out"
    valid = ("train_prepared", prepared_sets.train(world, world.prepared, "{out}"))
    return _case(world, name, prepared_sets.train(world, found, str(out)), valid, out)


KINDS: tuple[Callable[[World, Path, str], Case], ...] = (
    *(workdir, sampled_run, exported_run, export_out, sample_out, condition, prepare_out, table, table_folder),
    *(image_folder, shards, base, controlnet, data),
)
