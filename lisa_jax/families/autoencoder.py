"""The latent space of a base with a VAE (diffusers' `AutoencoderKL`)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params
from lisa_jax.families.family import LatentSpace, height_and_width
from lisa_jax.models.vae import AutoencoderKL, AutoencoderKLConfig

# Bounds of the log-variance in diffusers' `DiagonalGaussianDistribution`.
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -30.0, 20.0


def autoencoder_latents(
    config: AutoencoderKLConfig, load_params: Callable[[], Params], dtype: jnp.dtype = jnp.float32
) -> LatentSpace:
    """The latent space of an autoencoder: images uint8 (n, H, W, 3), latents (n, H / f, W / f, latent_channels)."""
    model = AutoencoderKL(config, dtype)
    factor = config.downsampling
    shift = 0.0 if config.shift_factor is None else config.shift_factor

    def moments(params: Params, images: jax.Array) -> jax.Array:
        """Mean and log-variance, not scaled: float32 (n, h, w, 2c)."""
        x = images.astype(jnp.float32) / 127.5 - 1.0
        return model.apply({"params": params}, x, method="encode").astype(jnp.float32)

    def sample(moments: jax.Array, key: jax.Array) -> jax.Array:
        return (drawn(moments, key) - shift) * config.scaling_factor

    def decode(params: Params, latents: jax.Array) -> jax.Array:
        z = latents.astype(jnp.float32) / config.scaling_factor + shift
        return to_pixels(model.apply({"params": params}, z, method="decode"))

    def shape(*size: int) -> tuple[int, int, int]:
        height, width = height_and_width(size)
        if height % factor or width % factor:
            raise ValueError(
                f"Images of {height} x {width} do not fit this base: its VAE needs height and width to be multiples "
                f"of {factor}."
            )
        return height // factor, width // factor, config.latent_channels

    return LatentSpace(load_params, moments, sample, decode, shape, draws=True)


def drawn(moments: jax.Array, key: jax.Array) -> jax.Array:
    """Draw from a posterior of mean and log-variance (..., 2c) (diffusers' `DiagonalGaussianDistribution.sample`)."""
    mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
    std = jnp.exp(0.5 * jnp.clip(log_variance, MIN_LOG_VARIANCE, MAX_LOG_VARIANCE))
    return mean + std * jax.random.normal(key, mean.shape)


def to_pixels(x: jax.Array) -> jax.Array:
    """What a VAE decodes, about [-1, 1], as uint8, rounded as by diffusers' `VaeImageProcessor`."""
    return jnp.round(jnp.clip(x.astype(jnp.float32) / 2 + 0.5, 0.0, 1.0) * 255.0).astype(jnp.uint8)
