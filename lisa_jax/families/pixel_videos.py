"""The latent space of a base of videos without a VAE: patches of pixels, twice as large as in [-1, 1]."""

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params
from lisa_jax.families.family import LatentSpace
from lisa_jax.families.pixels import PIXEL_CHANNELS, decode, moments
from lisa_jax.families.svd_latents import check_frame_size, video_size

# EDM's noise levels are made for latents of a standard deviation of 1; that of pixels is about half of it.
SCALE = 2.0


def pixel_videos(patch: int) -> LatentSpace:
    """Videos uint8 (n, F, H, W, 3), latents (n, F, H / patch, W / patch, 3 patch^2); nothing is lost.

    Args:
      patch: side of the squares whose pixels are the channels of one latent.
    """

    def of_videos(params: Params, videos: jax.Array) -> jax.Array:
        return patches(moments(params, videos), patch)

    def sample(moments: jax.Array, key: jax.Array) -> jax.Array:
        del key
        return SCALE * moments.astype(jnp.float32)

    def to_videos(params: Params, latents: jax.Array) -> jax.Array:
        return decode(params, from_patches(latents.astype(jnp.float32) / SCALE, patch))

    def shape(*size: int) -> tuple[int, int, int, int]:
        frames, height, width = video_size(size)
        check_frame_size(height, width, patch, f"its UNet sees squares of {patch} x {patch} pixels, and")
        return frames, height // patch, width // patch, PIXEL_CHANNELS * patch**2

    return LatentSpace(dict, of_videos, sample, to_videos, shape, draws=False)


def patch_of(channels: int) -> int | None:
    """The side of the patches that have so many channels; None where no square has."""
    return next((side for side in range(1, channels + 1) if PIXEL_CHANNELS * side**2 == channels), None)


def patches(pictures: jax.Array, patch: int) -> jax.Array:
    """(..., H, W, c) -> (..., H / patch, W / patch, patch^2 c): rows, columns, colours of each square."""
    *rest, height, width, channels = pictures.shape
    squares = pictures.reshape(*rest, height // patch, patch, width // patch, patch, channels)
    return jnp.swapaxes(squares, -4, -3).reshape(*rest, height // patch, width // patch, patch**2 * channels)


def from_patches(latents: jax.Array, patch: int) -> jax.Array:
    """The inverse of `patches`."""
    *rest, rows, columns, channels = latents.shape
    squares = latents.reshape(*rest, rows, columns, patch, patch, channels // patch**2)
    return jnp.swapaxes(squares, -4, -3).reshape(*rest, rows * patch, columns * patch, channels // patch**2)
