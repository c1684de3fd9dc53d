"""Autoencoder folders of diffusers (`AutoencoderKL`): config, key table, read, write."""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.configs import config_dict, config_from_dict
from lisa_jax.checkpoints.folder import Placement, read_config, read_params, write_config, write_params
from lisa_jax.checkpoints.key_table import Entry, key_table
from lisa_jax.models.vae import AutoencoderKL, AutoencoderKLConfig

CLASS_NAME = "AutoencoderKL"
CONTAINERS = ("down_blocks", "up_blocks", "resnets", "attentions", "downsamplers", "upsamplers", "to_out")

# Fields of diffusers that choose something we do not have, and the value that leaves it out.
NEUTRAL = {"latents_mean": None, "latents_std": None}

# Names of the attention's maps in files from before diffusers 0.17, Stable Diffusion 1.5's own among them.
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def vae_config(config: Mapping) -> AutoencoderKLConfig:
    """Read a diffusers config; raises CheckpointError, naming field and value, for what is not supported."""
    return config_from_dict(AutoencoderKLConfig, config, NEUTRAL, CLASS_NAME)


def vae_config_dict(config: AutoencoderKLConfig) -> dict:
    """All fields as diffusers writes them, without `_class_name` and `_diffusers_version`."""
    return config_dict(config, NEUTRAL)


@functools.cache
def vae_key_table(config: AutoencoderKLConfig) -> Mapping[str, Entry]:
    """Key table of an autoencoder; no parameter is made."""
    images = jnp.zeros((1, config.downsampling, config.downsampling, config.in_channels))
    shapes = jax.eval_shape(AutoencoderKL(config).init, jax.random.key(0), images)
    return key_table(shapes["params"], CONTAINERS)


def read_vae(
    folder: str | Path, dtype: jnp.dtype | None = None, placement: Placement = None
) -> tuple[AutoencoderKLConfig, dict]:
    """Read an autoencoder folder, with the attention's old names (`query`, ...) or its new ones (`to_q`, ...).

    Args:
      folder: holds `config.json` and the safetensors (whole, sharded or fp16 variant).
      dtype: dtype of the parameters; None keeps the file's.
      placement: where each tensor goes as soon as it is read, see `folders.read_params`.

    Returns:
      Config and parameter tree.
    Raises:
      CheckpointError: a config that is not supported, or tensors that do not fit it.
    """
    config = vae_config(read_config(folder))
    table = vae_key_table(config)
    aliases = {
        key.replace(f".{new}.", f".{old}."): key
        for key in table
        for new, old in _OLD_ATTENTION.items()
        if f".{new}." in key
    }
    return config, read_params(folder, table, dtype, aliases=aliases, placement=placement)


def write_vae(folder: str | Path, config: AutoencoderKLConfig, params: Mapping, dtype: jnp.dtype | None = None) -> None:
    """Write a folder that `AutoencoderKL.from_pretrained` loads; dtype None keeps the tree's."""
    write_config(folder, vae_config_dict(config), CLASS_NAME)
    write_params(folder, params, vae_key_table(config), dtype)
