"""The side network of a Stable Diffusion 3 transformer: a copy of its first blocks, or one that was trained before."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.checkpoints.side_network import stored_side_network
from lisa_jax.dual_branch import Params
from lisa_jax.families.sd3_control import check_fits, check_table, with_table
from lisa_jax.models.sd3_controlnet import SD3ControlNetConfig, sd3_controlnet_config_from_transformer
from lisa_jax.models.sd3_transformer import SD3TransformerConfig

# Blocks that a side network copies unless asked otherwise, of a transformer that has twice as many: of more than half
# of the blocks the transformer does not add the last residual, see `residual_index`.
USUAL_LAYERS = 12
TABLE = "pos_embed.pos_embed"
SIDE_NETWORKS = {SD3_CONTROLNET.config_file.class_name: SD3_CONTROLNET}


@dataclasses.dataclass(frozen=True)
class SD3SideStart:
    """A side network before training.

    Attributes:
      config: of the network.
      read_start: reads the weights that it starts from, numpy arrays in the precision of their file. Callers let go of
        them once the float32 parameters are made.
    """

    config: SD3ControlNetConfig
    read_start: Callable[[], Params]


def copied_side_network(
    checkpoint: Checkpoint | None, transformer: SD3TransformerConfig, num_layers: int | None
) -> SD3SideStart:
    """A side network that starts as a copy of the transformer's embedders and first blocks.

    Args:
      checkpoint: has the transformer's weights as its component `transformer`; None: everything is fresh.
      transformer: its config.
      num_layers: blocks to copy; None: 12, or half of all where that is less.

    Raises:
      ValueError: as many blocks as the transformer has, or more.
    """
    usual = min(USUAL_LAYERS, transformer.num_layers // 2)
    try:
        config = sd3_controlnet_config_from_transformer(transformer, usual if num_layers is None else num_layers)
    except ValueError as error:
        raise ValueError(f"side.num_layers: {error}") from error

    def read_start() -> Params:
        if checkpoint is None:
            return {}
        main, side = SD3_TRANSFORMER.key_table(transformer), SD3_CONTROLNET.key_table(config)
        # The table of positions stays with the transformer.
        copied = {key: entry for key, entry in main.items() if key in side and key != TABLE}
        return SD3_TRANSFORMER.read_params(checkpoint, "transformer", copied, whole=False)

    return SD3SideStart(config, read_start)


def continued_side_network(
    spec: str, transformer: SD3TransformerConfig, load_table: Callable[[], Params]
) -> SD3SideStart:
    """A side network that was trained before; its config is taken as it is.

    How its blocks are made is its own, whatever the transformer's are: whether they see text, normalise queries and
    keys (`qk_norm`) and attend twice (`dual_attention_layers`), as in diffusers' pipelines.

    Args:
      spec: an `SD3ControlNetModel` of diffusers, as `open_checkpoint` takes it.
      transformer: the main network that is to take its residuals.
      load_table: reads that network's table of positions, as `position_table`.

    Raises:
      CheckpointError: a config that is not supported, or a network that does not fit the transformer.
    """
    checkpoint = open_checkpoint(spec)
    config = stored_side_network(checkpoint, SIDE_NETWORKS).config(checkpoint)
    if config.extra_conditioning_channels:
        raise CheckpointError(
            f"{spec} has extra_conditioning_channels {config.extra_conditioning_channels}, as networks for inpainting "
            "have them for a mask, but conditions are pictures alone."
        )
    try:
        check_fits(config, transformer)
    except ValueError as error:
        raise CheckpointError(f"{spec}: {error}") from error

    def read_start() -> Params:
        _, params = SD3_CONTROLNET.read(checkpoint)
        try:
            check_table(config, params, load_table())
        except ValueError as error:
            raise CheckpointError(f"{spec}: {error}") from error
        return params

    return SD3SideStart(config, read_start)


def write_side_network(
    folder: str | Path,
    config: SD3ControlNetConfig,
    params: Params,
    table: Params,
    dtype: jnp.dtype | None = None,
) -> None:
    """Write a side network as `SD3ControlNetModel` of diffusers reads it; `table` as `position_table` gives it."""
    SD3_CONTROLNET.write(folder, config, with_table(config, params, table), dtype)


def position_table(transformer: SD3TransformerConfig, checkpoint: Checkpoint) -> Params:
    """The transformer's table of positions alone, in a tree like its parameters; numpy, in the file's precision."""
    table = {TABLE: SD3_TRANSFORMER.key_table(transformer)[TABLE]}
    return SD3_TRANSFORMER.read_params(checkpoint, "transformer", table, whole=False)
