"""One network of a checkpoint: its config and its weights, read and written by one description."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.config_files import Config, ConfigFile, remove_config, write_config
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.key_table import Entry, key_table
from lisa_jax.checkpoints.params import Placement, check_tensors, read_params, write_params
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS, StoredTensor

# Of a resnet of a VAE, which has no embedding of time; every other layer has more.
_LEAST_TENSORS = 8
# What PyTorch puts before the keys of a network that was wrapped when it was saved: in parallel, or compiled.
_WRAPPERS = ("module.", "_orig_mod.")


def float32_shape(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    """An input that networks are traced with: it takes no memory, whatever sizes a config asks for."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


# Compared by identity, so that a key table can be kept for each.
@dataclasses.dataclass(frozen=True, eq=False)
class Component(Generic[Config]):
    """How a kind of network lies in a checkpoint.

    Attributes:
      config_file: its `config.json`; the config says how many `layers` it asks for at least.
      shapes: config -> parameter tree of `jax.ShapeDtypeStruct`.
      containers: names of modules that PyTorch numbers with a dot, see `key_table`.
      stem: name of its weight files without ending.
      prefix: of every key, written always and read where it is there.
      ignore: endings of keys that old files hold and no model uses.
      old_names: parts of keys that old files call otherwise, today's name -> the old one.
    """

    config_file: ConfigFile[Config]
    shapes: Callable[[Config], Mapping]
    containers: Sequence[str]
    stem: str = DIFFUSERS_WEIGHTS
    prefix: str = ""
    ignore: tuple[str, ...] = ()
    old_names: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def key_table(self, config: Config) -> Mapping[str, Entry]:
        """Key table of a config, keys without the prefix; no parameter is made."""
        return _key_table(self, config)

    def config(self, checkpoint: Checkpoint, component: str = "") -> Config:
        """Read the config of a component.

        Raises:
          CheckpointError: a config that is missing or not supported, by file, field and value.
        """
        fields = checkpoint.config(component)
        try:
            return self.config_file.parse(fields)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint.where(component, 'config.json')}: {error}") from error

    def read(
        self,
        checkpoint: Checkpoint,
        component: str = "",
        dtype: jnp.dtype | None = None,
        placement: Placement = None,
    ) -> tuple[Config, dict]:
        """Read config and parameters of a component.

        Args:
          checkpoint: where it is.
          component: its name there, "" where the checkpoint is nothing else.
          dtype: dtype of the parameters; None keeps the file's.
          placement: where each tensor goes as soon as it is read, see `params.read_params`.

        Raises:
          CheckpointError: a config that is not supported, or tensors that do not fit it.
        """
        self.check(checkpoint, component)
        config = self.config(checkpoint, component)
        return config, self.read_params(checkpoint, component, self.key_table(config), dtype, placement)

    def read_params(
        self,
        checkpoint: Checkpoint,
        component: str,
        table: Mapping[str, Entry],
        dtype: jnp.dtype | None = None,
        placement: Placement = None,
        *,
        whole: bool = True,
    ) -> dict:
        """Read the parameters of a key table: of the whole network, or of a part of it; else as `read`."""
        tensors, where = self._tensors(checkpoint, component, table), checkpoint.where(component)
        return read_params(tensors, table, dtype, placement, where=where, whole=whole)

    def check(self, checkpoint: Checkpoint, component: str = "") -> None:
        """Check by the headers of the files that the weights of a component fit its config; none is read.

        Raises:
          CheckpointError: as `read`.
        """
        config = self.config(checkpoint, component)
        count = len(checkpoint.tensors(component, self.stem))
        # Before the network is traced, which takes seconds, or minutes where a config asks for the senseless.
        if config.layers * _LEAST_TENSORS > count:
            raise CheckpointError(
                f"{checkpoint.where(component)} does not fit its config: {config.layers} layers have at least "
                f"{config.layers * _LEAST_TENSORS} tensors, but there are {count}."
            )
        table = self.key_table(config)
        check_tensors(self._tensors(checkpoint, component, table), table, where=checkpoint.where(component))

    def write(self, folder: str | Path, config: Config, params: Mapping, dtype: jnp.dtype | None = None) -> None:
        """Write config and parameters into a folder that diffusers or transformers loads.

        Args:
          folder: made where it is missing.
          config: of the network.
          params: its parameter tree; leaves as for `params.write_params`.
          dtype: dtype of every tensor in the file; None keeps the tree's.

        Raises:
          ValueError: a config of another kind of network.
        """
        if type(config) is not self.config_file.kind:
            raise ValueError(
                f"A {type(config).__name__} cannot be written as a {self.config_file.kind.__name__}: it is of another "
                "kind of network."
            )
        written = dtype or jax.tree.leaves(params)[0].dtype
        table = {self.prefix + key: entry for key, entry in self.key_table(config).items()}
        # A folder without a config is no network: from here on this one is none, until it is whole.
        remove_config(folder)
        write_params(folder, params, table, dtype, self.stem)
        write_config(folder, self.config_file.fields(config, written))

    def _tensors(self, checkpoint: Checkpoint, component: str, table: Mapping[str, Entry]) -> dict[str, StoredTensor]:
        """Tensors by today's keys, whatever they are called in the file."""
        today = {
            key.replace(f".{new}.", f".{old}."): key
            for key in table
            for new, old in self.old_names.items()
            if f".{new}." in key
        }
        found: dict[str, StoredTensor] = {}
        for name, tensor in _unwrapped(checkpoint.tensors(component, self.stem)).items():
            if name.endswith(self.ignore):
                continue
            key = name.removeprefix(self.prefix)
            key = today.get(key, key)
            if key in found:
                raise CheckpointError(
                    f"{checkpoint.where(component)} holds one tensor under two names, {found[key].name} and "
                    f"{tensor.name}."
                )
            found[key] = tensor
        return found


def _unwrapped(tensors: Mapping[str, StoredTensor]) -> Mapping[str, StoredTensor]:
    """Tensors without the prefixes of wrappers that all of their keys begin with."""
    for wrapper in _WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            return _unwrapped({name.removeprefix(wrapper): tensor for name, tensor in tensors.items()})
    return tensors


# Tracing a network of full size takes seconds.
@functools.cache
def _key_table(component: Component, config: Any) -> Mapping[str, Entry]:
    # All callers have the same one.
    return MappingProxyType(key_table(component.shapes(config), component.containers))
