"""Between the `config.json` of diffusers or transformers and the frozen config of a model."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import jax.numpy as jnp

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.models.config_fields import hints, shown

Config = TypeVar("Config")

CONFIG_FILE = "config.json"
DIFFUSERS_VERSION = "0.42.1"
_SWITCHES = (bool, bool | tuple[bool, ...])


class ConfigFile(Protocol[Config]):
    """A `config.json` in both directions, or to be read only; `kind` is the type of config that it holds."""

    kind: type[Config]

    def parse(self, fields: Mapping) -> Config:
        """Make the config of the file's fields; raises CheckpointError, by field and value, for unsupported ones."""

    def fields(self, config: Config, dtype: jnp.dtype | None = None) -> dict:
        """The file's fields of a config, for weights of a dtype."""


# What diffusers' `EMAModel` notes in the config of the average that it saves: how the average was made.
_EMA_NOTES = ("decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup")


@dataclasses.dataclass(frozen=True)
class DiffusersConfig(Generic[Config]):
    """A config of diffusers.

    A field that nobody knows may change the network of a later diffusers: it is refused, unless it is switched off
    (null, false or empty).

    Attributes:
      class_name: the class that the file must name, where it names one.
      kind: frozen dataclass with diffusers' field names and defaults.
      neutral: fields of diffusers that `kind` lacks, with the one value that leaves them without effect. Null is as
        good where that value is false. Those that tell most about a network first: the first of them is named.
      inert: fields that diffusers does not read for such networks, or only beside a neutral one of another value; with
        its default.
      telling: neutral field -> what a network is that gives it another value.
    """

    class_name: str
    kind: type[Config]
    neutral: Mapping[str, Any]
    inert: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    telling: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def parse(self, fields: Mapping) -> Config:
        """Make the config; absent fields take its defaults, those that begin with `_` are diffusers' own notes.

        Raises:
          CheckpointError: another class, an unknown field, or a value that is not supported.
        """
        found_class = fields.get("_class_name", self.class_name)
        if found_class != self.class_name:
            raise CheckpointError(
                f"_class_name {shown(found_class)} is not supported here: this reads a {self.class_name}."
            )
        for name, value in self.neutral.items():
            found = fields.get(name, value)
            if found != value and not (found is None and value is False):
                told = f", as for {self.telling[name]}" if name in self.telling else ""
                raise CheckpointError(f"{self._refused(name, found)}{told}: only {value!r} is.")
        values = {}
        for name, value in fields.items():
            if name in hints(self.kind):
                # Null is off to diffusers, which asks for the truth of it.
                values[name] = False if value is None and hints(self.kind)[name] in _SWITCHES else _freeze(value)
            elif not (name.startswith("_") or name in self.neutral | self.inert or name in _EMA_NOTES or not value):
                raise CheckpointError(
                    f"{self._refused(name, value)}: unknown field, which may change the network; remove it if the "
                    "checkpoint is the same without."
                )
        try:
            return self.kind(**values)
        except ValueError as error:
            raise CheckpointError(f"{self.class_name} config: {error}") from error

    def _refused(self, name: str, value: Any) -> str:
        return f"{self.class_name} config: {name[:80]} {shown(value)} is not supported"

    def fields(self, config: Config, dtype: jnp.dtype | None = None) -> dict:
        """Every field of diffusers, with lists for tuples as JSON has them; it notes no dtype."""
        del dtype
        own = {name: _thaw(value) for name, value in dataclasses.asdict(config).items()}
        return class_notes(self.class_name) | dict(self.neutral) | dict(self.inert) | own


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
                raise CheckpointError(
                    f"{self.title}: {name} {shown(fields[name])} is not supported, only {supported!r} is."
                )
        known = hints(self.kind)
        try:
            return self.kind(**{name: value for name, value in fields.items() if name in known and value is not None})
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
    return tuple(value) if isinstance(value, list | tuple) else value


def _thaw(value: Any) -> Any:
    return list(map(_thaw, value)) if isinstance(value, tuple) else value
