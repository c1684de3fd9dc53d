"""Autoencoders of diffusers (`AutoencoderKL`)."""

import jax

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.models.vae import AutoencoderKL, AutoencoderKLConfig


def _shapes(config: AutoencoderKLConfig) -> dict:
    images = float32_shape((1, config.downsampling, config.downsampling, config.in_channels))
    return jax.eval_shape(AutoencoderKL(config).init, jax.random.key(0), images)["params"]


VAE = Component(
    config_file=DiffusersConfig(
        class_name="AutoencoderKL",
        kind=AutoencoderKLConfig,
        neutral={"latents_mean": None, "latents_std": None},
        telling=dict.fromkeys(("latents_mean", "latents_std"), "Playground 2.5, whose latents are scaled by channel"),
    ),
    shapes=_shapes,
    containers=("down_blocks", "up_blocks", "resnets", "attentions", "downsamplers", "upsamplers", "to_out"),
    # The attention's maps in files from before diffusers 0.17, Stable Diffusion 1.5's own among them.
    old_names={"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"},
)
