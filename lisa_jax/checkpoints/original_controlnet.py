"""ControlNets written in the original layout, as web interfaces read them: one file without a config."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.key_table import Entry
from lisa_jax.checkpoints.original_unet import Sizes, controlnet_fields, original_name
from lisa_jax.checkpoints.params import write_params
from lisa_jax.models.controlnet import ControlNetConfig
from lisa_jax.models.encoder import per_level

_PREFIX = "control_model."
# They change nothing but the precision of the computation.
_PRECISION = {"upcast_attention": False}


def write_original_controlnet(
    folder: str | Path, name: str, config: ControlNetConfig, params: Mapping, dtype: jnp.dtype | None = None
) -> None:
    """Write `<name>.safetensors` into a folder, which is made where it is missing.

    Args:
      folder, name: where.
      config: of the network.
      params: its parameter tree; leaves as for `params.write_params`.
      dtype: dtype of every tensor in the file; None keeps the tree's.

    Raises:
      ValueError: a network that who reads the file would take for another: it has no config.
    """
    if type(config) is not ControlNetConfig:
        raise ValueError(
            "It is smaller than a ControlNet, which has no original layout: export with --format=diffusers."
        )
    table = CONTROLNET.key_table(config)
    _check_told(config, table)
    sizes = Sizes.of_controlnet(config.layers_per_block, config.conditioning_embedding_out_channels)
    renamed = {_PREFIX + original_name(key, sizes): entry for key, entry in table.items()}
    write_params(folder, params, renamed, dtype, stem=name)


def _check_told(config: ControlNetConfig, table: Mapping[str, Entry]) -> None:
    """Refuse a config that shapes do not tell."""
    shapes = {key: entry.torch_shape for key, entry in table.items()}
    try:
        found = CONTROLNET.config_file.parse(controlnet_fields(shapes))
    except CheckpointError as error:
        raise ValueError(
            f"The original layout has no config, and who reads the file would not take it for this network: {error} "
            "Export with --format=diffusers."
        ) from error
    told, meant = _comparable(found), _comparable(config)
    for field, value in meant.items():
        if told[field] != value:
            raise ValueError(
                f"The original layout has no config, so {field} {value} cannot be written: who reads the file would "
                f"take {told[field]}. Export with --format=diffusers."
            )


def _comparable(config: ControlNetConfig) -> dict[str, Any]:
    """Its fields, those that say one thing in several ways in one of them."""
    heads = {"attention_head_dim": config.heads, "num_attention_heads": None}
    layers = {"transformer_layers_per_block": per_level(config.transformer_layers_per_block, config.levels)}
    return dataclasses.asdict(config) | heads | layers | _PRECISION
