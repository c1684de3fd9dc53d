"""The alignment decoder of LISA: predicts the likelihood score from one feature of the side network.

Source: "LISA: Likelihood Score Alignment for Visual-condition Controllable Generation", arXiv 2606.27192.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.embeddings import sinusoidal_embedding
from lisa_jax.models.layers import Conv, Linear, resize_nearest

TIME_FEATURES = 256
MIN_CHANNELS = 64
POINTWISE_FROM = 512  # a feature this wide is narrowed by a 1x1 convolution first


class AlignmentDecoder(nn.Module):
    """Feature plus projected time, then `stages` times (conv, SiLU, nearest x2), then a zero convolution.

    With `stages=0` the feature is at latent resolution already and gets one 3x3 convolution and SiLU. The last stage
    resizes (nearest) straight to `latent_size`, so a latent size that is no power-of-two multiple of the feature's,
    such as 9 over 5 or 13 over 2, needs no cropping. `width` multiplies the channels of every stage; 1 is the authors'.
    """

    out_channels: int
    stages: int
    latent_size: tuple[int, int]
    dtype: jnp.dtype = jnp.float32
    width: float = 1.0

    @nn.compact
    def __call__(self, feature: jax.Array, t: jax.Array) -> jax.Array:
        """Predict `target - prior`.

        Args:
          feature: (n, h, w, c) side feature before its zero convolution.
          t: (n,) network time.

        Returns:
          (n, *latent_size, out_channels) in the compute dtype; zero at initialisation.
        """
        channels = feature.shape[-1]
        time = nn.silu(Linear(channels, name="time_proj")(sinusoidal_embedding(t, TIME_FEATURES)))
        hidden = feature.astype(self.dtype) + time[:, None, None].astype(self.dtype)
        for stage in range(max(self.stages, 1)):
            pointwise = stage == 0 and self.stages > 0 and channels >= POINTWISE_FROM
            channels = max(channels // 2, MIN_CHANNELS)
            kernel_size, padding = (1, 0) if pointwise else (3, 1)
            widened = max(round(self.width * channels), 1)
            hidden = nn.silu(
                Conv(widened, kernel_size, padding=padding, dtype=self.dtype, name=f"conv_{stage}")(hidden)
            )
            last = stage + 1 >= self.stages
            hidden = resize_nearest(hidden, self.latent_size if last else (2 * hidden.shape[1], 2 * hidden.shape[2]))
        return Conv(self.out_channels, zero_init=True, dtype=self.dtype, name="conv_out")(hidden)


def alignment_decoder(
    feature_shape: tuple[int, int, int],
    latent_shape: tuple[int, int, int],
    dtype: jnp.dtype = jnp.float32,
    width: float = 1.0,
) -> AlignmentDecoder:
    """Make the decoder that goes from a side feature to the latents.

    Args:
      feature_shape: (h, w, c) of the hooked feature.
      latent_shape: (H, W, C) of the prediction.
      dtype: compute dtype; the time embedding is in float32 anyway.
      width: factor on the channels of every stage.

    Returns:
      A decoder with the fewest factor-2 stages that reach (H, W).
    Raises:
      ValueError: a feature larger than the latents, or a width that is not positive.
    """
    if not width > 0:
        raise ValueError(f"decoder_width is {width}, but must be positive: 1 is the authors' decoder.")
    (rows, columns, _), (latent_rows, latent_columns, out_channels) = feature_shape, latent_shape
    if rows > latent_rows or columns > latent_columns:
        raise ValueError(f"a feature of {rows}x{columns} is larger than the latents, {latent_rows}x{latent_columns}.")
    stages = 0
    while rows << stages < latent_rows or columns << stages < latent_columns:
        stages += 1
    return AlignmentDecoder(out_channels, stages, (latent_rows, latent_columns), dtype, width)
