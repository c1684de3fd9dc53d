"""Between the `config.json` of diffusers and the frozen config of a model."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from lisa_jax.checkpoints.folder import CheckpointError

Config = TypeVar("Config")


def config_from_dict(kind: type[Config], config: Mapping, neutral: Mapping[str, Any], class_name: str) -> Config:
    """Make a model's config; absent fields take its defaults, which are diffusers'.

    Args:
      kind: frozen dataclass with diffusers' field names.
      config: the file's fields; those that begin with `_` are diffusers' own notes.
      neutral: fields of diffusers that the model lacks, with the one value that leaves them without effect.
      class_name: the class that the file must name, where it names one.

    Raises:
      CheckpointError: another class, an unknown field, or a value that is not supported.
    """
    found_class = config.get("_class_name", class_name)
    if found_class != class_name:
        raise CheckpointError(f"_class_name {found_class!r} is not supported here: this reads a {class_name}.")
    fields = {name: value for name, value in config.items() if not name.startswith("_")}
    known = {field.name for field in dataclasses.fields(kind)}
    for name in fields.keys() - known:
        if name not in neutral:
            raise CheckpointError(f"{class_name} config: {name} {fields[name]!r} is not supported: unknown field.")
        if fields[name] != neutral[name]:
            raise CheckpointError(
                f"{class_name} config: {name} {fields[name]!r} is not supported: only {neutral[name]!r}."
            )
    try:
        return kind(**{name: _freeze(fields[name]) for name in fields.keys() & known})
    except ValueError as error:
        raise CheckpointError(f"{class_name} config: {error}") from error


def config_dict(config: Any, neutral: Mapping[str, Any]) -> dict:
    """Every field of diffusers, with lists for tuples as JSON has them."""
    return dict(neutral) | {name: _thaw(value) for name, value in dataclasses.asdict(config).items()}


def _freeze(value: Any) -> Any:
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


def _thaw(value: Any) -> Any:
    return list(map(_thaw, value)) if isinstance(value, tuple) else value
