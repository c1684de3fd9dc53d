"""Values out of JSON as the types that a dataclass declares: what is of another type is named by its place."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any

_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


class TypedError(ValueError):
    """A value that is missing, not known or of another type; the message begins with its place."""


def typed(value: Any, kind: Any, place: str = "") -> Any:
    """A JSON value as a type: lists become tuples, objects become dataclasses.

    Args:
      value: as `json` gives it.
      kind: int, float, str, bool, Any, a dataclass, or `tuple[X, ...]`, `tuple[X, Y]`, `Mapping[str, X]`, `X | None`.
      place: of the value, for messages: "splits.train[0]".

    Raises:
      TypedError: a value of another type, a field that is missing or that the dataclass does not have.
    """
    origin, parts = _origin_and_parts(kind)
    if kind is Any:
        return value
    if origin is types.UnionType:
        (kind,) = (part for part in parts if part is not types.NoneType)
        return None if value is None else typed(value, kind, place)
    if origin is tuple:
        return _tuple(_of_kind(value, list, place), parts, place)
    if origin is Mapping:
        found = _of_kind(value, dict, place)
        return {name: typed(part, parts[1], _join(place, name)) for name, part in found.items()}
    if dataclasses.is_dataclass(kind):
        return _dataclass(_of_kind(value, dict, place), kind, place)
    return _of_kind(value, kind, place)


# A data set may have millions of values.
@functools.cache
def _origin_and_parts(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(kind), typing.get_args(kind)


def _of_kind(value: Any, kind: type, place: str) -> Any:
    # A number without a fraction is an int in JSON; true is no number, though Python's bool is an int.
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise TypedError(f"{place or 'the content'} is {_shown(value)}, but must be {_WORDS[kind]}")


def _tuple(items: list, parts: tuple[Any, ...], place: str) -> tuple:
    kinds = parts[:1] * len(items) if parts[-1] is Ellipsis else parts
    if len(items) != len(kinds):
        raise TypedError(f"{place} is {_shown(items)}, but must be a list of {len(kinds)}")
    if all(type(item) is kind for item, kind in zip(items, kinds, strict=True)):
        return tuple(items)
    return tuple(typed(items[index], kind, f"{place}[{index}]") for index, kind in enumerate(kinds))


def _dataclass(found: dict, kind: type, place: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in found:
        if name not in fields:
            raise TypedError(f"{_join(place, name)} is no known field")
    for name, field in fields.items():
        if name not in found and field.default is dataclasses.MISSING:
            raise TypedError(f"{_join(place, name)} is missing")
    hints = typing.get_type_hints(kind)
    return kind(**{name: typed(part, hints[name], _join(place, name)) for name, part in found.items()})


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
