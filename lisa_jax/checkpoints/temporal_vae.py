"""Autoencoders of videos of diffusers (`AutoencoderKLTemporalDecoder`)."""

import jax

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.models.temporal_vae import AutoencoderKLTemporalDecoder, AutoencoderKLTemporalDecoderConfig


def _shapes(config: AutoencoderKLTemporalDecoderConfig) -> dict:
    video = float32_shape((1, 1, config.downsampling, config.downsampling, config.in_channels))
    return jax.eval_shape(AutoencoderKLTemporalDecoder(config).init, jax.random.key(0), video)["params"]


TEMPORAL_VAE = Component(
    config_file=DiffusersConfig(
        class_name="AutoencoderKLTemporalDecoder", kind=AutoencoderKLTemporalDecoderConfig, neutral={}
    ),
    shapes=_shapes,
    containers=VAE.containers,
)
