"""Flags whose values are checked as they are parsed, by the same kinds as the fields of configs."""

import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from lisa_jax.experiments.kinds import Kind, Number, Text, Whole
from lisa_jax.files.home import expanded

# A flag is that of the command which calls DEFINE_checked, whose help tells it.
flags.disclaim_key_flags()
# What is counted on the command line: steps, pictures, rows.
COUNT = Whole(1, 10**9)


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder, there or to be made."""

    def takes(self, value: Any) -> bool:
        return Text().takes(value) and _nearest(Path(value)).is_dir()

    def __str__(self) -> str:
        return "a folder, or a path where one can be made"


@dataclasses.dataclass(frozen=True)
class CountOrAll:
    """A number, or all that there are, as text."""

    def takes(self, value: Any) -> bool:
        return value == "all" or (Text().takes(value) and value.isdecimal() and COUNT.takes(int(value)))

    def __str__(self) -> str:
        return f"{COUNT}, or all"


@dataclasses.dataclass(frozen=True)
class NewFile:
    """A file to be written, in a folder that is there or to be made."""

    def takes(self, value: Any) -> bool:
        return Text().takes(value) and not Path(value).is_dir() and _nearest(Path(value).parent).is_dir()

    def __str__(self) -> str:
        return "a file, or a path where one can be made"


def _nearest(path: Path) -> Path:
    """The path, or the first above it that is there."""
    return next(place for place in (path, *path.absolute().parents) if place.exists() or place.is_symlink())


def DEFINE_checked(name: str, default: Any, help: str, kind: Kind) -> flags.FlagHolder:
    """Define a flag of a kind: a whole number, a number, or a text of that kind; None is given by default only."""
    return flags.DEFINE(_Parser(kind), name, default, help, serializer=flags.ArgumentSerializer())


class _Parser(flags.ArgumentParser):
    def __init__(self, kind: Kind):
        self._kind = kind

    def parse(self, argument: Any) -> Any:
        """The value of a flag; raises ValueError where it is not of its kind."""
        read = int if isinstance(self._kind, Whole) else float if isinstance(self._kind, Number) else str
        try:
            value = read(argument)
        except ValueError:
            value = None
        if not self._kind.takes(value):
            raise ValueError(f"must be {self._kind}.")
        if isinstance(self._kind, Folder | NewFile) and (meant := expanded(value)) != Path(value):
            raise ValueError(f"begins with a ~ that the shell has left as it is: write {meant}.")
        return value

    def flag_type(self) -> str:
        return str(self._kind)
