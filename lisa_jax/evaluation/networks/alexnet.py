"""AlexNet's convolutional part, as torchvision's `alexnet().features`: what LPIPS compares pictures by.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997. Parameter names are
torchvision's (`features_0` is `features.0`).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

CHANNELS = (64, 192, 384, 256, 256)
# Less would leave nothing for the second pooling.
MIN_SIZE = 31


class _Layer(NamedTuple):
    index: int  # in torchvision's `features`
    kernel: int
    stride: int
    padding: int
    pool_before: bool


_LAYERS = (
    _Layer(0, 11, 4, 2, False),
    _Layer(3, 5, 1, 2, True),
    _Layer(6, 3, 1, 1, True),
    _Layer(8, 3, 1, 1, False),
    _Layer(10, 3, 1, 1, False),
)


class AlexNetFeatures(nn.Module):
    """The five convolutions of AlexNet."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """The output of each convolution after its ReLU.

        Args:
          x: float32 (n, H, W, 3), normalised, sides of MIN_SIZE or more.

        Returns:
          Five arrays (n, h, w, c) with the CHANNELS; the first is at about a quarter of the resolution.
        Raises:
          ValueError: pictures that are too small.
        """
        if min(x.shape[1:3]) < MIN_SIZE:
            raise ValueError(f"AlexNet needs pictures of {MIN_SIZE} px or more, but they are {x.shape[1:3]}.")
        outputs = []
        for layer, channels in zip(_LAYERS, CHANNELS, strict=True):
            if layer.pool_before:
                x = nn.max_pool(x, (3, 3), strides=(2, 2))
            x = nn.Conv(
                channels,
                (layer.kernel, layer.kernel),
                strides=layer.stride,
                padding=layer.padding,
                name=f"features_{layer.index}",
            )(x)
            x = nn.relu(x)
            outputs.append(x)
        return tuple(outputs)


def alexnet_shapes() -> dict:
    """Parameter tree of `AlexNetFeatures` as `jax.ShapeDtypeStruct`."""
    pixels = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(AlexNetFeatures().init, jax.random.key(0), pixels)["params"]
