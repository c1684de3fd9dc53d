"""The training step of a config for machines that are not there: shapes and shardings in place of arrays."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from lisa_jax.checkpoints.unet import unet_key_table
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.experiments.condition_fields import condition_names
from lisa_jax.experiments.control import check_aligned_rows, control_losses, decoder_width, used_hook
from lisa_jax.families.autoencoder import autoencoder_latents
from lisa_jax.families.composed import compose
from lisa_jax.families.family import TextSpace
from lisa_jax.families.presets import Preset
from lisa_jax.families.sharding_rules import RULES
from lisa_jax.families.stable_diffusion import unet_dual_branch
from lisa_jax.models.controlnet import controlnet_config_from_unet
from lisa_jax.models.small_controlnet import small_controlnet_config
from lisa_jax.parallel.sharding import (
    REPLICATED,
    check_batch_size,
    replicated,
    shardings,
    split_rows,
    traced_on,
)
from lisa_jax.processes import Diffusion
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.state import TrainState, state_initialiser
from lisa_jax.training.step import TrainStep, jit_train_step, make_train_step

TEXT_LENGTH = 77


@dataclasses.dataclass(frozen=True)
class AbstractStep:
    """A step ready to be lowered.

    Attributes:
      jitted: the step that training runs.
      arguments: state, frozen tree, batch and key as shapes with shardings.
      batch_size: global.
      accumulate: microbatches of it.
      chips: devices of the mesh.
    """

    jitted: TrainStep
    arguments: tuple[TrainState, Params, dict[str, Any], jax.ShapeDtypeStruct]
    batch_size: int
    accumulate: int
    chips: int

    @property
    def trainable_bytes(self) -> int:
        """Bytes of one copy of the trainable tree, and so of its gradients."""
        return tree_bytes(self.arguments[0].params)

    @property
    def update_bytes(self) -> int:
        """Bytes a chip that the optimizer's update reads and writes, each array once."""
        found = self.chip_bytes()
        return 2 * sum(found[name] for name in ("trainable", "optimizer", "average"))

    def chip_bytes(self) -> dict[str, int]:
        """Bytes a chip of every argument: trainable, optimizer, average, frozen, batch."""
        state, frozen, batch, _ = self.arguments
        parts = {"trainable": state.params, "optimizer": state.opt_state, "average": state.ema}
        return {name: shard_bytes(tree) for name, tree in (parts | {"frozen": frozen, "batch": batch}).items()}


def abstract_step(config: ConfigDict, preset: Preset, mesh: Mesh, *, aligns: bool) -> AbstractStep:
    """The step of a config on cached moments and contexts, at the architecture of a preset.

    Args:
      config: as `lisa_jax train` takes it; its base folder and its data are not read.
      preset: configs of the networks.
      mesh: of devices that may not exist.
      aligns: with the alignment term, or plain.

    Raises:
      ValueError: a batch that does not split over the mesh, an unknown hook, sizes that do not divide.
    """
    check_batch_size(config.batch_size, config.accumulate, mesh)
    if aligns:
        check_aligned_rows(config, mesh)
    dtype = jnp.dtype(config.compute_dtype)
    model = _model(config, preset, dtype)
    latents = autoencoder_latents(preset.vae, {}, dtype)
    text = TextSpace(load_params=dict, tokenize=_no_text, encode=_no_text)
    losses = control_losses(
        config,
        model=model,
        process=Diffusion.from_scheduler_config(dict(preset.scheduler)),
        latents=latents,
        text=text,
        null_context=jnp.zeros((1, TEXT_LENGTH, preset.text.hidden_size), jnp.bfloat16),
    )
    loss = losses.loss_at(0) if aligns else losses.validation
    optimizer = make_optimizer(config.optimizer, learning_rate_schedule(config.optimizer, config.num_steps))

    main = _unet_shapes(preset, jnp.dtype(config.frozen_dtype))
    names = condition_names(config)
    start = main if names is None else dict.fromkeys(names, main)
    hook = used_hook(config, model) if aligns else None

    def fresh_state(start: Params, key: jax.Array) -> TrainState:
        init = partial(model.init_trainable, start, hook=hook)
        return state_initialiser(init, optimizer, ema=config.ema_decay is not None)(key)

    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(traced_on(mesh, fresh_state), start, key)
    frozen = {"main": main}
    state_sharding = shardings(state, RULES, mesh)
    frozen_sharding = shardings(frozen, RULES if config.mesh.split_frozen else REPLICATED, mesh)
    rows = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=split_rows(mesh)),
        _batch_shapes(config, preset, latents.shape),
    )
    step = make_train_step(loss, optimizer, config.ema_decay, config.accumulate)
    return AbstractStep(
        jit_train_step(step, mesh, state_sharding, frozen_sharding),
        (
            _with_shardings(state, state_sharding),
            _with_shardings(frozen, frozen_sharding),
            rows,
            jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=replicated(mesh)),
        ),
        config.batch_size,
        config.accumulate,
        mesh.size,
    )


def _model(config: ConfigDict, preset: Preset, dtype: jnp.dtype) -> DualBranch:
    side = controlnet_config_from_unet(preset.unet, tuple(config.condition_channels))
    if config.side.block_out_channels is not None or config.side.layers_per_block is not None:
        side = small_controlnet_config(side, config.side.block_out_channels, config.side.layers_per_block)
    names = condition_names(config)
    one = unet_dual_branch(preset.unet, side, dtype, config.remat, config.attention, decoder_width(config))
    return one if names is None else compose(dict.fromkeys(names, one))


def _unet_shapes(preset: Preset, dtype: jnp.dtype) -> Params:
    table = unet_key_table(preset.unet)
    tree: dict = {}
    for entry in table.values():
        node = tree
        for name in entry.path[:-1]:
            node = node.setdefault(name, {})
        node[entry.path[-1]] = jax.ShapeDtypeStruct(entry.shape, dtype)
    return tree


def _batch_shapes(config: ConfigDict, preset: Preset, latent_shape: Callable[[int, int], tuple]) -> dict[str, Any]:
    """A batch as the pipeline gives it from a prepared data set with everything cached."""
    count, size = config.batch_size, config.data.image_size
    height, width, channels = latent_shape(size, size)
    picture = jax.ShapeDtypeStruct((count, size, size, 3), jnp.uint8)
    names = condition_names(config)
    return {
        "moments": jax.ShapeDtypeStruct((count, height, width, 2 * channels), jnp.bfloat16),
        "context": jax.ShapeDtypeStruct((count, TEXT_LENGTH, preset.text.hidden_size), jnp.bfloat16),
        "condition": picture if names is None else dict.fromkeys(names, picture),
    }


def _no_text(*_: Any) -> Any:
    raise AssertionError("Contexts are cached: no text is encoded.")


def _with_shardings(tree: Any, sharding: Any) -> Any:
    return jax.tree.map(
        lambda leaf, target: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=target), tree, sharding
    )


def tree_bytes(tree: Any) -> int:
    """Bytes of one copy of a tree of shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def shard_bytes(tree: Any) -> int:
    """Bytes of a tree of shapes with shardings on one device."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
