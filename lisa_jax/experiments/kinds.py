"""Kinds of values that fields of configs, cells of studies and flags of commands may have.

A kind tells what it takes (`takes`), in words too (`str`): `{value!r}, but must be {kind}`. Nothing is converted: True
is no number, "3" is none, and 3.0 is no whole number. NaN is within no bounds, and infinity within none of ours.
"""

import dataclasses
import math
from numbers import Integral, Real
from typing import Any, Protocol

from lisa_jax.data.conditions.names import is_condition


class Kind(Protocol):
    """What a value may be; its `str` completes "must be"."""

    def takes(self, value: Any) -> bool:
        """Whether the value is of this kind."""


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number within bounds, both included."""

    least: int
    most: int

    def takes(self, value: Any) -> bool:
        return isinstance(value, Integral) and not isinstance(value, bool) and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"a whole number from {self.least:,} to {self.most:,}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number within bounds: `least` and `most` are included, `above` and `below` are not."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def takes(self, value: Any) -> bool:
        if not isinstance(value, Real) or isinstance(value, bool):
            return False
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        bounds = {"of at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        said = [f"{word} {bound:,g}" for word, bound in bounds.items() if math.isfinite(bound)]
        return f"a number {' and '.join(said)}" if said else "a finite number"


@dataclasses.dataclass(frozen=True)
class NumberOrNull:
    """A number that was measured, or None where there was none: NaN and infinity are such, too."""

    def takes(self, value: Any) -> bool:
        return value is None or (isinstance(value, Real) and not isinstance(value, bool))

    def __str__(self) -> str:
        return "a number or null"


@dataclasses.dataclass(frozen=True)
class Truth:
    """True or False."""

    def takes(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "True or False"


@dataclasses.dataclass(frozen=True)
class Text:
    """A string, which may be empty where that is said, and has no NUL, for it may name a file."""

    empty: bool = False

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and "\0" not in value and (self.empty or bool(value.strip()))

    def __str__(self) -> str:
        return "a text" if self.empty else "a text that is not empty"


@dataclasses.dataclass(frozen=True)
class ConditionName:
    """The name of a condition, or `module:function`; names are identifiers, for folders and parameters go by them."""

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and is_condition(value)

    def __str__(self) -> str:
        return "the name of a condition or module:function, in letters, digits and _"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of a few names."""

    names: tuple[str, ...]

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names

    def __str__(self) -> str:
        *others, last = self.names
        return f"{', '.join(others)} or {last}" if others else last


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple of values of one kind; a list, too, as JSON has no tuples."""

    of: Kind
    least: int = 1
    most: int = 8

    def takes(self, value: Any) -> bool:
        return (
            isinstance(value, tuple | list)
            and self.least <= len(value) <= self.most
            and all(self.of.takes(part) for part in value)
        )

    def __str__(self) -> str:
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most:,}"
        return f"a tuple of {count}, each {self.of}"


@dataclasses.dataclass(frozen=True)
class Group:
    """Fields by name; what they are is checked elsewhere."""

    def takes(self, value: Any) -> bool:
        # Not only a Mapping: part of a config has keys too.
        return hasattr(value, "keys")

    def __str__(self) -> str:
        return "a group of fields"


@dataclasses.dataclass(frozen=True)
class ByName:
    """Values of one kind by name, at least one."""

    of: Kind

    def takes(self, value: Any) -> bool:
        return Group().takes(value) and bool(value.keys()) and all(self.of.takes(value[name]) for name in value)

    def __str__(self) -> str:
        return f"by name {self.of}"


@dataclasses.dataclass(frozen=True)
class Either:
    """A value of one kind or of another."""

    kinds: tuple[Kind, ...]

    def takes(self, value: Any) -> bool:
        return any(kind.takes(value) for kind in self.kinds)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


@dataclasses.dataclass(frozen=True)
class Unset:
    """None, beside the values of a kind."""

    def takes(self, value: Any) -> bool:
        return value is None

    def __str__(self) -> str:
        return "unset"


@dataclasses.dataclass(frozen=True)
class Maybe:
    """A value of a kind, of a field that may be left out."""

    of: Kind

    def takes(self, value: Any) -> bool:
        return self.of.takes(value)

    def __str__(self) -> str:
        return str(self.of)


@dataclasses.dataclass(frozen=True)
class Table:
    """Values of one kind by name, as many as there are."""

    of: Kind

    def takes(self, value: Any) -> bool:
        return isinstance(value, dict) and all(map(self.of.takes, value.values()))

    def __str__(self) -> str:
        return f"a table whose every value is {self.of}"


def or_unset(kind: Kind) -> Kind:
    """The kind, or None: what `placeholder` makes."""
    return Either((kind, Unset()))


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value) if isinstance(value, str) else " ".join(_digits(value).split())
    return text if len(text) <= 80 else f"{text[:70]}..."


def _digits(value: Any) -> str:
    try:
        return str(value)
    # A whole number of more than 4,300 digits.
    except ValueError:
        return f"a number of {value.bit_length()} bits"


def require(name: str, value: Any, kind: Kind) -> None:
    """Raise ValueError unless the value of what `name` says is of the kind."""
    if not kind.takes(value):
        raise ValueError(f"{name} is {shown(value)}, but must be {kind}.")
