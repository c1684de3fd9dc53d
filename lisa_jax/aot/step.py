"""The training step of a config for machines that are not there: shapes and shardings in place of arrays."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from lisa_jax.data.prepared.dtypes import stored_dtype
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.experiments.base import example_size, setup_of
from lisa_jax.experiments.control import check_aligned_rows, control_experiment
from lisa_jax.experiments.inputs import cached_shapes
from lisa_jax.families.family import Architecture
from lisa_jax.parallel.compiling import Announced
from lisa_jax.parallel.sharding import replicated, shard_bytes
from lisa_jax.training.program import make_program
from lisa_jax.training.state import TrainState, device_bytes


@dataclasses.dataclass(frozen=True)
class AbstractStep:
    """A step ready to be lowered.

    Attributes:
      jitted: the step that training runs.
      arguments: state, frozen tree, inputs and key as shapes with shardings.
      batch_size: global.
      accumulate: microbatches of it.
      chips: devices of the mesh.
    """

    jitted: Announced
    arguments: tuple[TrainState, Params, Tree, jax.ShapeDtypeStruct]
    batch_size: int
    accumulate: int
    chips: int

    @property
    def trainable_bytes(self) -> int:
        """Bytes of one copy of the trainable tree, and so of its gradients."""
        state, *_ = self.arguments
        return tree_bytes(state.params)

    @property
    def update_bytes(self) -> int:
        """Bytes a chip that the optimizer's update reads and writes, each array once."""
        found = self.chip_bytes()
        return 2 * sum(found[name] for name in ("trainable", "optimizer", "average"))

    def chip_bytes(self) -> dict[str, int]:
        """Bytes a chip of every argument: frozen, trainable, optimizer, average, batch."""
        state, frozen, inputs, _ = self.arguments
        return device_bytes(state, frozen) | {"batch": shard_bytes(inputs)}


def abstract_step(config: ConfigDict, architecture: Architecture, mesh: Mesh, *, aligns: bool) -> AbstractStep:
    """The step of a config on cached moments and contexts.

    Args:
      config: as `lisa_jax train` takes it; its base and its data are not read, of `side.start_from` the config alone.
      architecture: of the networks.
      mesh: of devices that may not exist.
      aligns: with the alignment term, or plain.

    Raises:
      ValueError: a batch that does not split over the mesh, an unknown hook, sizes that do not divide, or a side
        network to continue that is missing or does not fit.
    """
    if not aligns:
        config = config.copy_and_resolve_references()
        config.lisa.lam = 0.0
    check_aligned_rows(config, mesh)
    family = architecture.abstract(setup_of(config))
    shapes = family.conditioner.shapes_at(example_size(config))
    empty = jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), stored_dtype(leaf.dtype)), shapes)
    frozen = {"main": family.frozen} | ({"latents": family.latents.params} if family.conditioner.draw else {})
    program = make_program(control_experiment(config, family, frozen, empty), config, mesh)
    inputs = cached_shapes(family, config.batch_size, example_size(config))
    key = jax.eval_shape(lambda: jax.random.key(0))
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh))
    arguments = (program.state, program.frozen, program.rows(inputs), key)
    return AbstractStep(program.step_at(0), arguments, config.batch_size, config.accumulate, mesh.size)


def tree_bytes(tree: Any) -> int:
    """Bytes of one copy of a tree of shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
