"""A small network that reads something off every pixel of a small picture: heat maps of key points, or depth."""

import flax.linen as nn
import jax

from lisa_jax.models.layers import Conv, resize_nearest
from lisa_jax.models.norms import GroupNorm

_GROUPS = 8


class DenseEstimator(nn.Module):
    """A U-Net of convolutions: two a level on the way down, one on the way up, skips added.

    Fully convolutional: pictures of any size and shape, though what it learnt holds for the scale that it was shown.

    Attributes:
      channels: of the output.
      widths: channels of the levels, each at half the resolution of the one before; multiples of 8.
    """

    channels: int
    widths: tuple[int, ...] = (16, 32, 48, 64)

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float32 (n, H, W, 3) in -1..1. Returns float32 (n, H, W, channels)."""
        skips = []
        for level, width in enumerate(self.widths):
            x = self._block(images if level == 0 else skips[-1], width, f"down_{level}", stride=1 if level == 0 else 2)
            skips.append(x + self._block(x, width, f"inner_{level}"))
        x = skips.pop()
        for level, skip in reversed(list(enumerate(skips))):
            x = Conv(skip.shape[-1], kernel_size=1, padding=0, name=f"narrow_{level}")(x)
            x = skip + resize_nearest(x, skip.shape[1:3])
            x = x + self._block(x, skip.shape[-1], f"up_{level}")
        return Conv(self.channels, name="output")(x)

    def _block(self, x: jax.Array, width: int, name: str, stride: int = 1) -> jax.Array:
        x = Conv(width, stride=stride, name=f"{name}_conv")(x)
        return GroupNorm(_GROUPS, eps=1e-5, silu=True, name=f"{name}_norm")(x)
