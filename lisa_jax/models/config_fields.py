"""Fields of networks' configs, which others write: type and range stand beside each field and are checked together.

A field is annotated with a plain type, or with one of a range:

    layers_per_block: Annotated[int, Range(1, 32)] = 2
"""

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Mapping
from reprlib import repr as shown
from typing import Annotated, Any, Union, get_args, get_origin


@dataclasses.dataclass(frozen=True)
class Range:
    """From the least to the most that is accepted: a number itself, or how many entries a tuple has."""

    least: float
    most: float


# The widest published UNets have 1,536 channels, the widest language models some 20,000.
Width = Annotated[int, Range(1, 65_536)]
Heads = Annotated[int, Range(1, 1024)]
Epsilon = Annotated[float, Range(0, 1)]

# Resnets and transformer blocks of one network: SDXL's UNet has 107. Tracing takes some 50 ms for each.
MOST_LAYERS = 256


def check_fields(config: Any) -> None:
    """Check the values of a dataclass against its annotations: no field beyond its type or range gets any further.

    Raises:
      ValueError: a field whose value is not supported, by name, value and what it must be.
    """
    for name, hint in hints(type(config)).items():
        check_value(name, getattr(config, name), hint)


def check_value(name: str, value: Any, hint: Any) -> None:
    """Check one value, as `check_fields` does."""
    if not _fits(value, hint):
        raise ValueError(f"{name} {shown(value)} is not supported: it must be {_words(hint)}.")


def check_layers(count: int) -> None:
    """Refuse a network that no computer could trace, by its number of resnets and transformer blocks."""
    if count > MOST_LAYERS:
        raise ValueError(f"{count:,} layers in all are not supported: at most {MOST_LAYERS}.")


@functools.cache
def hints(kind: type) -> Mapping[str, Any]:
    """Annotations of a dataclass's fields, with their ranges."""
    found = typing.get_type_hints(kind, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, bounds = parts
        if isinstance(value, tuple) and not bounds.least <= len(value) <= bounds.most:
            return False
        return _fits(value, kind) and (isinstance(value, tuple) or bounds.least <= value <= bounds.most)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        kinds = (parts[0],) * len(value) if isinstance(value, tuple) and parts[-1] is Ellipsis else parts
        return isinstance(value, tuple) and len(kinds) == len(value) and all(map(_fits, value, kinds))
    if hint is float:
        # Neither a boolean, which Python takes for a number, nor NaN or infinity, which JSON lets pass.
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is hint


def _words(hint: Any) -> str:
    """What a value must be, as a sentence goes on."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        kind, bounds = parts
        unit = " of them" if get_origin(kind) is tuple else ""
        return f"{_words(kind)}, {bounds.least:,} to {bounds.most:,}{unit}"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is tuple:
        count = "" if parts[-1] is Ellipsis else f"{len(parts)} values, "
        return f"a list of {count}each {_words(parts[0])}"
    return {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}.get(hint, "null")
