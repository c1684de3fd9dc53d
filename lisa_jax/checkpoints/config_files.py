"""Between the `config.json` of diffusers or transformers and the frozen config of a model."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import jax.numpy as jnp

from lisa_jax.checkpoints.checkpoint import CheckpointError
from lisa_jax.files.whole_file import write_whole_text

Config = TypeVar("Config")

CONFIG_FILE = "config.json"
DIFFUSERS_VERSION = "0.42.1"


class ConfigFile(Protocol[Config]):
    """A `config.json` in both directions, or to be read only; `kind` is the type of config that it holds."""

    kind: type[Config]

    def parse(self, fields: Mapping) -> Config:
        """Make the config of the file's fields; raises CheckpointError, by field and value, for unsupported ones."""

    def fields(self, config: Config, dtype: jnp.dtype | None = None) -> dict:
        """The file's fields of a config, for weights of a dtype."""


@dataclasses.dataclass(frozen=True)
class DiffusersConfig(Generic[Config]):
    """A config of diffusers.

    Attributes:
      class_name: the class that the file must name, where it names one.
      kind: frozen dataclass with diffusers' field names and defaults.
      neutral: fields of diffusers that `kind` lacks, with the one value that leaves them without effect.
    """

    class_name: str
    kind: type[Config]
    neutral: Mapping[str, Any]

    def parse(self, fields: Mapping) -> Config:
        """Make the config; absent fields take its defaults, those that begin with `_` are diffusers' own notes.

        Raises:
          CheckpointError: another class, an unknown field, or a value that is not supported.
        """
        found_class = fields.get("_class_name", self.class_name)
        if found_class != self.class_name:
            raise CheckpointError(f"_class_name {found_class!r} is not supported here: this reads a {self.class_name}.")
        fields = {name: value for name, value in fields.items() if not name.startswith("_")}
        known = {field.name for field in dataclasses.fields(self.kind)}
        for name in fields.keys() - known:
            refused = f"{self.class_name} config: {name} {fields[name]!r} is not supported"
            if name not in self.neutral:
                raise CheckpointError(f"{refused}: unknown field.")
            if fields[name] != self.neutral[name]:
                raise CheckpointError(f"{refused}: only {self.neutral[name]!r}.")
        try:
            return self.kind(**{name: _freeze(fields[name]) for name in fields.keys() & known})
        except ValueError as error:
            raise CheckpointError(f"{self.class_name} config: {error}") from error

    def fields(self, config: Config, dtype: jnp.dtype | None = None) -> dict:
        """Every field of diffusers, with lists for tuples as JSON has them; it notes no dtype."""
        del dtype
        own = {name: _thaw(value) for name, value in dataclasses.asdict(config).items()}
        return class_notes(self.class_name) | self.neutral | own


@dataclasses.dataclass(frozen=True)
class TransformersConfig(Generic[Config]):
    """A config of transformers, whose fields are many and mostly not about the network: unknown ones are left out.

    Attributes:
      title: the file's name in messages.
      kind: frozen dataclass with transformers' field names and defaults.
      fixed: field -> the only value that is supported, where it is there and not null.
      written: fields that are written beside those of `kind`.
    """

    title: str
    kind: type[Config]
    fixed: Mapping[str, Any]
    written: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def parse(self, fields: Mapping) -> Config:
        """Make the config; absent fields take its defaults.

        Raises:
          CheckpointError: a value that is not supported, by field and value.
        """
        for name, supported in self.fixed.items():
            if fields.get(name) not in (None, supported):
                raise CheckpointError(f"{self.title}: {name} {fields[name]!r} is not supported, only {supported!r} is.")
        types = {field.name: field.type for field in dataclasses.fields(self.kind)}
        values = {name: value for name, value in fields.items() if name in types and value is not None}
        for name, value in values.items():
            allowed = (int, float) if types[name] is float else types[name]
            if not isinstance(value, allowed) or isinstance(value, bool):
                raise CheckpointError(
                    f"{self.title}: {name} {value!r} is not supported, only type {types[name].__name__} is."
                )
        try:
            return self.kind(**values)
        except ValueError as error:
            raise CheckpointError(f"{self.title}: {error}") from error

    def fields(self, config: Config, dtype: jnp.dtype | None = None) -> dict:
        """The fields as transformers writes them, and the dtype where there is one."""
        # `torch_dtype` is the name that every transformers version reads; 5 calls it `dtype` in what it writes.
        noted = {} if dtype is None else {"torch_dtype": jnp.dtype(dtype).name}
        return dict(self.written) | dataclasses.asdict(config) | noted


def class_notes(class_name: str) -> dict[str, str]:
    """What diffusers notes in a config about the class that it is of."""
    return {"_class_name": class_name, "_diffusers_version": DIFFUSERS_VERSION}


def write_config(folder: str | Path, config: Mapping, class_name: str | None = None, name: str = CONFIG_FILE) -> None:
    """Write a config as diffusers does: sorted keys, with the notes on its class where there is one."""
    fields = (class_notes(class_name) if class_name else {}) | dict(config)
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_whole_text(Path(folder) / name, json.dumps(fields, indent=2, sort_keys=True) + "\n")


def remove_config(folder: str | Path) -> None:
    """Take away the config of a network that is about to be written; its folder is made."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / CONFIG_FILE).unlink(missing_ok=True)


def _freeze(value: Any) -> Any:
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value


def _thaw(value: Any) -> Any:
    return list(map(_thaw, value)) if isinstance(value, tuple) else value
