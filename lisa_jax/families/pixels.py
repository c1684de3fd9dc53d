"""The latent space of a base that works on pixels: images scaled to [-1, 1]."""

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params
from lisa_jax.families.family import LatentSpace, height_and_width

PIXEL_CHANNELS = 3


def moments(params: Params, images: jax.Array) -> jax.Array:
    """uint8 (n, H, W, 3) -> float32 in [-1, 1]; nothing is left to chance."""
    del params
    return images.astype(jnp.float32) / 127.5 - 1.0


def sample(moments: jax.Array, key: jax.Array) -> jax.Array:
    """The image itself."""
    del key
    return moments.astype(jnp.float32)


def decode(params: Params, latents: jax.Array) -> jax.Array:
    """float (n, H, W, 3) -> uint8, clipped."""
    del params
    return jnp.clip(jnp.round((latents.astype(jnp.float32) + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def shape(*size: int) -> tuple[int, int, int]:
    """That of the image."""
    return (*height_and_width(size), PIXEL_CHANNELS)


PIXELS = LatentSpace(dict, moments, sample, decode, shape, draws=False)
