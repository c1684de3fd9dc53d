"""Checkpoints of a run: damaged, gone, under other numbers, mixed."""

import random
import shutil
from pathlib import Path

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right
from fuzz.world import copied


def steps_of(run: Path) -> list[Path]:
    """The checkpoints, oldest first."""
    found = (path for path in (run / "checkpoints").iterdir() if path.name.isdigit())
    return sorted(found, key=lambda path: int(path.name))


def _files(step: Path) -> list[Path]:
    return sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size > 2)


def bit(rng: random.Random, run: Path) -> Mutation:
    """A bit of the newest."""
    newest = steps_of(run)[-1]
    path = rng.choice(_files(newest))
    how = damage.flip(rng, path)
    return Mutation(f"{path.relative_to(run)}: {how}", Right.EITHER, (newest.name, path.name))


def file(rng: random.Random, run: Path) -> Mutation:
    """A file of the newest."""
    newest = steps_of(run)[-1]
    path = rng.choice(_files(newest))
    how = damage.bytes_of(rng, path)
    return Mutation(f"{path.relative_to(run)}: {how}", Right.EITHER, (newest.name, path.name))


def all_files(rng: random.Random, run: Path) -> Mutation:
    """All of all."""
    for step in steps_of(run):
        for path in _files(step):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Mutation("every file of every checkpoint cut in half", Right.REFUSED, ("checkpoints",))


def part_gone(rng: random.Random, run: Path) -> Mutation:
    """A file or a folder of the newest that is not there."""
    newest = steps_of(run)[-1]
    path = rng.choice([*_files(newest), *(path for path in newest.rglob("*") if path.is_dir())])
    damage.remove(path)
    return Mutation(f"{path.relative_to(run)} is gone", Right.EITHER, (newest.name, path.name))


def none(rng: random.Random, run: Path) -> Mutation:
    """No checkpoint at all."""
    folder = run / "checkpoints"
    how = rng.choice(["gone", "empty", "a file", "none finished"])
    if how == "none finished":
        for step in steps_of(run):
            step.rename(step.with_name(f"{step.name}.orbax-checkpoint-tmp-1"))
        return Mutation(f"checkpoints: {how}", Right.REFUSED, (run.name, "checkpoint"))
    shutil.rmtree(folder)
    if how == "empty":
        folder.mkdir()
    if how == "a file":
        folder.write_text("x")
    return Mutation(f"checkpoints: {how}", Right.REFUSED, (run.name, "checkpoint"))


def swapped(rng: random.Random, run: Path) -> Mutation:
    """Two under each other's numbers."""
    older, newest = steps_of(run)[-2:]
    aside = newest.with_name("aside")
    newest.rename(aside)
    older.rename(newest)
    aside.rename(older)
    return Mutation(f"steps {older.name} and {newest.name} swapped", Right.REFUSED, (older.name, newest.name))


def renamed(rng: random.Random, run: Path) -> Mutation:
    """The newest under another number, or none."""
    newest = steps_of(run)[-1]
    name = rng.choice(["1000", "1000000000000", "1", f"0{newest.name}", "x", "-1", "1e3", "٣", " 9"])
    newest.rename(newest.with_name(name))
    # As if it had not been saved, where its name is that of no newest one.
    right = Right.EITHER if name.startswith("1000") else Right.ANY
    return Mutation(f"step {newest.name} is called {name!r}", right, (name, newest.name))


def mixed(rng: random.Random, run: Path) -> Mutation:
    """A part of the newest is that of the one before."""
    older, newest = steps_of(run)[-2:]
    part = rng.choice(["identity", "state", "_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt"])
    damage.remove(newest / part)
    copied(older / part, newest / part)
    # Only one of these holds what differs.
    right = Right.EITHER if part.startswith("state") and part != "state/_METADATA" else Right.ANY
    return Mutation(f"{part} of step {newest.name} is that of {older.name}", right, (newest.name,))


KINDS: Kinds = {bit: 25, file: 12, all_files: 1, part_gone: 8, none: 4, swapped: 3, renamed: 5, mixed: 5}
