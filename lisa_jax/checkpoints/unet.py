"""UNet folders of diffusers (`UNet2DConditionModel`): config, key table, read, write."""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.configs import config_dict, config_from_dict
from lisa_jax.checkpoints.folder import Placement, read_config, read_params, write_config, write_params
from lisa_jax.checkpoints.key_table import Entry, key_table
from lisa_jax.models.unet import UNet, UNetConfig

CLASS_NAME = "UNet2DConditionModel"
CONTAINERS = (
    "down_blocks",
    "up_blocks",
    "resnets",
    "attentions",
    "transformer_blocks",
    "downsamplers",
    "upsamplers",
    "to_out",
    "net",
)

# Fields of diffusers that choose something we do not have, and the value that leaves it out.
NEUTRAL = {
    "addition_embed_type": None,
    "addition_embed_type_num_heads": 64,
    "addition_time_embed_dim": None,
    "attention_type": "default",
    "class_embed_type": None,
    "class_embeddings_concat": False,
    "cross_attention_norm": None,
    "dropout": 0.0,
    "dual_cross_attention": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "mid_block_only_cross_attention": None,
    "num_attention_heads": None,
    "num_class_embeds": None,
    "projection_class_embeddings_input_dim": None,
    "resnet_out_scale_factor": 1.0,
    "resnet_skip_time_act": False,
    "resnet_time_scale_shift": "default",
    "reverse_transformer_layers_per_block": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "timestep_post_act": None,
}


def unet_config(config: Mapping) -> UNetConfig:
    """Read a diffusers config; raises CheckpointError, naming field and value, for what is not supported."""
    return config_from_dict(UNetConfig, config, NEUTRAL, CLASS_NAME)


def unet_config_dict(config: UNetConfig) -> dict:
    """All fields as diffusers writes them, without `_class_name` and `_diffusers_version`."""
    return config_dict(config, NEUTRAL)


@functools.cache
def unet_key_table(config: UNetConfig) -> Mapping[str, Entry]:
    """Key table of a UNet; no parameter is made."""
    size = 2 ** (config.levels - 1)
    shapes = jax.eval_shape(
        UNet(config).init,
        jax.random.key(0),
        jnp.zeros((1, size, size, config.in_channels)),
        jnp.zeros((1,)),
        jnp.zeros((1, 1, config.cross_attention_dim)),
    )
    return key_table(shapes["params"], CONTAINERS)


def read_unet(
    folder: str | Path, dtype: jnp.dtype | None = None, placement: Placement = None
) -> tuple[UNetConfig, dict]:
    """Read a UNet folder.

    Args:
      folder: holds `config.json` and the safetensors (whole, sharded or fp16 variant).
      dtype: dtype of the parameters; None keeps the file's.
      placement: where each tensor goes as soon as it is read, see `folders.read_params`.

    Returns:
      Config and parameter tree.
    Raises:
      CheckpointError: a config that is not supported, or tensors that do not fit it.
    """
    config = unet_config(read_config(folder))
    return config, read_params(folder, unet_key_table(config), dtype, placement=placement)


def write_unet(folder: str | Path, config: UNetConfig, params: Mapping, dtype: jnp.dtype | None = None) -> None:
    """Write a folder that `UNet2DConditionModel.from_pretrained` loads; dtype None keeps the tree's."""
    write_config(folder, unet_config_dict(config), CLASS_NAME)
    write_params(folder, params, unet_key_table(config), dtype)
