"""ControlNet folders of diffusers (`ControlNetModel`): config, key table, read, write."""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints import unet
from lisa_jax.checkpoints.configs import config_dict, config_from_dict
from lisa_jax.checkpoints.folder import Placement, read_config, read_params, write_config, write_params
from lisa_jax.checkpoints.key_table import Entry, key_table
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig
from lisa_jax.models.small_controlnet import SmallControlNetConfig

CLASS_NAME = "ControlNetModel"
CONTAINERS = (*unet.CONTAINERS, "blocks", "controlnet_down_blocks")

# Fields of diffusers that choose something we do not have, and the value that leaves it out.
NEUTRAL = {
    "addition_embed_type": None,
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": None,
    "class_embed_type": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "num_class_embeds": None,
    "projection_class_embeddings_input_dim": None,
    "resnet_time_scale_shift": "default",
}


def controlnet_config(config: Mapping) -> ControlNetConfig:
    """Read a diffusers config; raises CheckpointError, naming field and value, for what is not supported."""
    return config_from_dict(ControlNetConfig, config, NEUTRAL, CLASS_NAME)


def controlnet_config_dict(config: ControlNetConfig) -> dict:
    """All fields as diffusers writes them, without `_class_name` and `_diffusers_version`."""
    return config_dict(config, NEUTRAL)


@functools.cache
def controlnet_key_table(config: ControlNetConfig) -> Mapping[str, Entry]:
    """Key table of a ControlNet, or of a smaller side network; no parameter is made."""
    size = 2 ** (config.levels - 1)
    image = size * config.conditioning_downsampling
    shapes = jax.eval_shape(
        ControlNet(config).init,
        jax.random.key(0),
        jnp.zeros((1, size, size, config.in_channels)),
        jnp.zeros((1,)),
        jnp.zeros((1, 1, config.cross_attention_dim)),
        jnp.zeros((1, image, image, config.conditioning_channels)),
    )
    return key_table(shapes["params"], CONTAINERS)


def read_controlnet(
    folder: str | Path, dtype: jnp.dtype | None = None, placement: Placement = None
) -> tuple[ControlNetConfig, dict]:
    """Read a ControlNet folder.

    Args:
      folder: holds `config.json` and the safetensors (whole, sharded or fp16 variant).
      dtype: dtype of the parameters; None keeps the file's.
      placement: where each tensor goes as soon as it is read, see `folders.read_params`.

    Returns:
      Config and parameter tree.
    Raises:
      CheckpointError: a config that is not supported, or tensors that do not fit it.
    """
    config = controlnet_config(read_config(folder))
    return config, read_params(folder, controlnet_key_table(config), dtype, placement=placement)


def write_controlnet(
    folder: str | Path, config: ControlNetConfig, params: Mapping, dtype: jnp.dtype | None = None
) -> None:
    """Write a folder that `ControlNetModel.from_pretrained` loads; dtype None keeps the tree's.

    Raises:
      ValueError: a side network that is smaller than a ControlNet.
    """
    if isinstance(config, SmallControlNetConfig):
        raise ValueError(
            "A side network with fewer channels, levels or layers than its UNet cannot be a ControlNetModel of "
            "diffusers: only lisa_jax runs it."
        )
    write_config(folder, controlnet_config_dict(config), CLASS_NAME)
    write_params(folder, params, controlnet_key_table(config), dtype)
