"""The alignment decoder of LISA: predicts the likelihood score from one feature of the side network.

Source: "LISA: Likelihood Score Alignment for Visual-condition Controllable Generation", arXiv 2606.27192.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.embeddings import sinusoidal_embedding
from lisa_jax.models.layers import Conv, Linear, resize_nearest

TIME_FEATURES = 256
MIN_CHANNELS = 64
POINTWISE_FROM = 512  # a feature this wide is narrowed by a 1x1 convolution first


class AlignmentDecoder(nn.Module):
    """Feature plus projected time, a stage for each of `channels` (conv, SiLU, nearest x2), and a zero convolution.

    The last stage resizes (nearest) straight to `latent_size`, so a latent size that is no power-of-two multiple of the
    feature's, such as 9 over 5 or 13 over 2, needs no cropping; a feature of that size is resized to nothing else.
    """

    out_channels: int
    channels: tuple[int, ...]
    pointwise: bool
    latent_size: tuple[int, int]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, feature: jax.Array, t: jax.Array) -> jax.Array:
        """Predict `target - prior`.

        Args:
          feature: (n, h, w, c) side feature before its zero convolution.
          t: (n,) network time.

        Returns:
          (n, *latent_size, out_channels) in the compute dtype; zero at initialisation.
        """
        time = nn.silu(Linear(feature.shape[-1], name="time_proj")(sinusoidal_embedding(t, TIME_FEATURES)))
        hidden = feature.astype(self.dtype) + time[:, None, None].astype(self.dtype)
        for stage, channels in enumerate(self.channels):
            kernel_size, padding = (1, 0) if stage == 0 and self.pointwise else (3, 1)
            conv = Conv(channels, kernel_size, padding=padding, dtype=self.dtype, name=f"conv_{stage}")
            hidden = nn.silu(conv(hidden))
            last = stage + 1 == len(self.channels)
            hidden = resize_nearest(hidden, self.latent_size if last else (2 * hidden.shape[1], 2 * hidden.shape[2]))
        return Conv(self.out_channels, birth=0.0, dtype=self.dtype, name="conv_out")(hidden)

    def with_channels_of(self, params: Mapping[str, Any]) -> "AlignmentDecoder":
        """The same decoder with the channels that parameters have: a decoder stays as wide as it was born."""
        stages = (params[f"conv_{stage}"]["kernel"] for stage in range(len(self.channels)))
        return self.clone(channels=tuple(kernel.shape[-1] for kernel in stages))


def alignment_decoder(
    feature_shape: tuple[int, int, int],
    latent_shape: tuple[int, int, int],
    dtype: jnp.dtype = jnp.float32,
    width: float = 1.0,
) -> AlignmentDecoder:
    """Make the decoder that goes from a side feature to the latents.

    It has the fewest factor-2 stages that reach the latents' size. Each halves the channels, but not below 64. A
    feature of the latents' size gets one stage all the same, in which 64 channels or fewer stay as many.

    Args:
      feature_shape: (h, w, c) of the hooked feature.
      latent_shape: (H, W, C) of the prediction.
      dtype: compute dtype; the time embedding is in float32 anyway.
      width: factor on the channels of every stage; 1 is the authors'.

    Raises:
      ValueError: a feature larger than the latents, or a width that is not positive.
    """
    if not width > 0:
        raise ValueError(f"decoder_width is {width}, but must be positive: 1 is the authors' decoder.")
    (rows, columns, channels), (latent_rows, latent_columns, out_channels) = feature_shape, latent_shape
    if rows > latent_rows or columns > latent_columns:
        raise ValueError(f"a feature of {rows}x{columns} is larger than the latents, {latent_rows}x{latent_columns}.")
    halvings = 0
    while rows << halvings < latent_rows or columns << halvings < latent_columns:
        halvings += 1
    at_latents = halvings == 0
    least = min(channels, MIN_CHANNELS) if at_latents else MIN_CHANNELS
    stages = [max(channels >> stage, least) for stage in range(1, max(halvings, 1) + 1)]
    return AlignmentDecoder(
        out_channels,
        tuple(max(round(width * narrowed), 1) for narrowed in stages),
        pointwise=not at_latents and channels >= POINTWISE_FROM,
        latent_size=(latent_rows, latent_columns),
        dtype=dtype,
    )
