"""I3D, the Inception network of videos of the Fréchet video distance, NFHWC.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", arXiv 1705.07750. Parameter names are those of the PyTorch
conversion of DeepMind's weights (`InceptionI3d` of the repository pytorch-i3d: `Mixed_3b/b1a/conv3d/kernel`).
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.evaluation.networks.inference_batch_norm import InferenceBatchNorm

CLASSES = 400  # of Kinetics
MIN_FRAMES = 9  # fewer leave one moment to the last pooling, which takes two

_Window = tuple[int, int, int]
# Channels of a block's branches: 1; 1 then 3; 1 then 3; after the maximum 1.
_BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Maxima before a block: window and stride.
_POOLS: dict[str, tuple[_Window, _Window]] = {
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class I3D(nn.Module):
    """The network with its classifier."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of clips.

        Args:
          x: float32 (n, F, H, W, 3) in -1..1, of MIN_FRAMES or more; the distance is defined for 224 x 224.

        Returns:
          float32 (n, 400), means over time.
        Raises:
          ValueError: too few frames.
        """
        if x.shape[1] < MIN_FRAMES:
            raise ValueError(f"I3D needs clips of {MIN_FRAMES} frames or more, but they have {x.shape[1]}.")
        x = _Unit(64, 7, 2, name="Conv3d_1a_7x7")(x)
        x = _max(x, (1, 3, 3), (1, 2, 2))
        x = _Unit(64, 1, name="Conv3d_2b_1x1")(x)
        x = _Unit(192, 3, name="Conv3d_2c_3x3")(x)
        for name, channels in _BLOCKS.items():
            x = _max(x, *_POOLS[name]) if name in _POOLS else x
            x = _Mixed(channels, name=name)(x)
        # At 224 px the whole map, 7 x 7.
        x = nn.avg_pool(x, (2, *x.shape[2:4]))
        return jnp.mean(_Unit(CLASSES, 1, plain=True, name="logits")(x), axis=(1, 2, 3))


class _Mixed(nn.Module):
    channels: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.channels
        one = _Unit(c[0], 1, name="b0")(x)
        three = _Unit(c[2], 3, name="b1b")(_Unit(c[1], 1, name="b1a")(x))
        other = _Unit(c[4], 3, name="b2b")(_Unit(c[3], 1, name="b2a")(x))
        pooled = _Unit(c[5], 1, name="b3b")(_max(x, (3, 3, 3), (1, 1, 1)))
        return jnp.concatenate([one, three, other, pooled], axis=-1)


class _Unit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; `plain`: with bias, and nothing else."""

    features: int
    kernel: int
    stride: int = 1
    plain: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, stride = (self.kernel,) * 3, (self.stride,) * 3
        x = nn.Conv(self.features, kernel, stride, "SAME", use_bias=self.plain, name="conv3d")(x)
        return x if self.plain else nn.relu(InferenceBatchNorm(name="bn")(x))


def _max(x: jax.Array, window: _Window, stride: _Window) -> jax.Array:
    # The original pads with zeros, which after ReLU are no greater than what is there.
    return nn.max_pool(x, window, stride, "SAME")
