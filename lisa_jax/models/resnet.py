"""Residual blocks of UNet and autoencoder, and the convolutions that change their resolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.layers import Conv, Linear, resize_nearest
from lisa_jax.models.norms import group_norm


class ResnetBlock2D(nn.Module):
    """norm, SiLU, conv, plus the time embedding, norm, SiLU, conv, plus the (projected) input.

    diffusers' `ResnetBlock2D` with `time_embedding_norm="default"`. `output_scale` divides the sum.
    """

    channels: int
    norm_groups: int
    norm_eps: float
    output_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, emb: jax.Array | None) -> jax.Array:
        """x: (n, h, w, c); emb: (n, e) time embedding, None in an autoencoder. Returns (n, h, w, channels)."""
        hidden = group_norm(self.norm_groups, self.norm_eps, self.dtype, "norm1", silu=True)(x)
        hidden = Conv(self.channels, dtype=self.dtype, name="conv1")(hidden)
        if emb is not None:
            hidden += Linear(self.channels, dtype=self.dtype, name="time_emb_proj")(nn.silu(emb))[:, None, None]
        hidden = group_norm(self.norm_groups, self.norm_eps, self.dtype, "norm2", silu=True)(hidden)
        hidden = Conv(self.channels, dtype=self.dtype, name="conv2")(hidden)
        if x.shape[-1] != self.channels:
            x = Conv(self.channels, kernel_size=1, padding=0, dtype=self.dtype, name="conv_shortcut")(x)
        return (x + hidden) / self.output_scale


class Downsample2D(nn.Module):
    """Convolution with stride 2; padding 0 means one row and column after the image (diffusers' `Downsample2D`)."""

    padding: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        padding = self.padding or ((0, 1), (0, 1))
        return Conv(x.shape[-1], stride=2, padding=padding, dtype=self.dtype, name="conv")(x)


class Upsample2D(nn.Module):
    """Nearest-neighbour resize to the size of the next skip, then a convolution (diffusers' `Upsample2D`)."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int]) -> jax.Array:
        return Conv(x.shape[-1], dtype=self.dtype, name="conv")(resize_nearest(x, size))
