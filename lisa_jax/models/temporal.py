"""Residual blocks of networks of videos: a block of single frames, one along time, and a learned blend of the two.

Blattmann et al., "Stable Video Diffusion", arXiv 2311.15127. Arrays are (n, f, h, w, c), n videos of f frames;
parameter names are diffusers' own.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.layers import Linear, pytorch_uniform
from lisa_jax.models.norms import group_norm
from lisa_jax.models.resnet import ResnetBlock2D


def frames_as_rows(x: jax.Array) -> jax.Array:
    """(n, f, ...) -> (n f, ...), for layers that see one frame at a time."""
    return x.reshape(-1, *x.shape[2:])


def rows_as_frames(x: jax.Array, frames: int) -> jax.Array:
    """(n f, ...) -> (n, f, ...): the inverse of `frames_as_rows`."""
    return x.reshape(-1, frames, *x.shape[1:])


class TemporalConv(nn.Module):
    """Convolution of three neighbouring frames, place by place: `torch.nn.Conv3d` of kernel and padding (3, 1, 1).

    The kernel is (3, 1, 1, in, out); before the first frame and after the last there are zeros.
    """

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, f, h, w, c). Returns (n, f, h, w, features)."""
        n, f, h, w, channels = x.shape
        shape = (3, 1, 1, channels, self.features)
        init = pytorch_uniform(math.prod(shape[:-1]))
        kernel, bias = self.param("kernel", init, shape), self.param("bias", init, (self.features,))
        # As one of two dimensions, time and place: no compiler has a faster one of three.
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype).reshape(n, f, h * w, channels),
            kernel.astype(self.dtype)[:, :, 0],
            window_strides=(1, 1),
            padding=((1, 1), (0, 0)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y.reshape(n, f, h, w, self.features) + bias.astype(self.dtype)


class TemporalResnetBlock(nn.Module):
    """norm, SiLU, conv, plus the time embedding, norm, SiLU, conv, plus the input, along time.

    diffusers' `TemporalResnetBlock` of as many channels as its input. Norms see all frames of a video at once.
    """

    norm_groups: int
    norm_eps: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, emb: jax.Array | None) -> jax.Array:
        """x: (n, f, h, w, c); emb: (n, f, e) time embedding, None in an autoencoder. Returns (n, f, h, w, c)."""
        channels = x.shape[-1]
        hidden = group_norm(self.norm_groups, self.norm_eps, self.dtype, "norm1", silu=True)(x)
        hidden = TemporalConv(channels, self.dtype, name="conv1")(hidden)
        if emb is not None:
            hidden += Linear(channels, dtype=self.dtype, name="time_emb_proj")(nn.silu(emb))[:, :, None, None]
        hidden = group_norm(self.norm_groups, self.norm_eps, self.dtype, "norm2", silu=True)(hidden)
        return x + TemporalConv(channels, self.dtype, name="conv2")(hidden)


class AlphaBlender(nn.Module):
    """sigmoid(mix_factor) spatial + (1 - sigmoid(mix_factor)) temporal; `switched` exchanges the two.

    diffusers' `AlphaBlender` of videos ("learned", or "learned_with_images" without an image among them).
    """

    mix_factor: float
    switched: bool = False

    @nn.compact
    def __call__(self, spatial: jax.Array, temporal: jax.Array) -> jax.Array:
        """Two arrays of one shape. Returns that shape."""
        share = jax.nn.sigmoid(self.param("mix_factor", nn.initializers.constant(self.mix_factor), (1,)))
        share = (1.0 - share if self.switched else share).astype(spatial.dtype)
        return share * spatial + (1 - share) * temporal


class SpatioTemporalResBlock(nn.Module):
    """A resnet of single frames, one along time after it, and a blend of both (diffusers' class of this name).

    Attributes:
      channels: of the result.
      norm_groups: of all norms.
      norm_eps, temporal_eps: of the norms of the two resnets.
      mix_factor, switched: see `AlphaBlender`.
      dtype: of computation.
    """

    channels: int
    norm_groups: int
    norm_eps: float
    temporal_eps: float
    mix_factor: float = 0.5
    switched: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, emb: jax.Array | None) -> jax.Array:
        """x: (n, f, h, w, c); emb: (n, f, e), or None. Returns (n, f, h, w, channels)."""
        of_frames = ResnetBlock2D(
            self.channels, self.norm_groups, self.norm_eps, dtype=self.dtype, name="spatial_res_block"
        )
        rows = None if emb is None else frames_as_rows(emb)
        spatial = rows_as_frames(of_frames(frames_as_rows(x), rows), x.shape[1])
        along_time = TemporalResnetBlock(self.norm_groups, self.temporal_eps, self.dtype, name="temporal_res_block")
        temporal = along_time(spatial, emb)
        return AlphaBlender(self.mix_factor, self.switched, name="time_mixer")(spatial, temporal)
