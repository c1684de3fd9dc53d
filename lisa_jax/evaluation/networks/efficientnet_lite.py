"""EfficientNet-Lite0 without its classifier, NHWC: a small ImageNet network whose weights come as a package.

Tan and Le, "EfficientNet", arXiv 1905.11946; the Lite variant (no squeeze-and-excitation, ReLU6) is that of the
`tensorflow/tpu` repository. Parameter names are those of its PyTorch conversion (`_blocks_0/_depthwise_conv/kernel`).
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.evaluation.networks.inference_batch_norm import InferenceBatchNorm

FEATURES = 1280
_STEM = 32


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int  # of the first block; 1 in the others
    expand: int
    features: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """The network up to its pooled features."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Features of pictures.

        Args:
          x: float32 (n, H, W, 3), pixels 0..255 as (pixel - 127) / 128.

        Returns:
          float32 (n, 1280), means over positions.
        """
        x = nn.Conv(_STEM, (3, 3), strides=2, padding="SAME", use_bias=False, name="_conv_stem")(x)
        x = nn.relu6(InferenceBatchNorm(name="_bn0")(x))
        index = 0
        for stage in _STAGES:
            for repeat in range(stage.repeats):
                stride = stage.stride if repeat == 0 else 1
                x = _Block(stage.kernel, stride, stage.expand, stage.features, name=f"_blocks_{index}")(x)
                index += 1
        x = _Pointwise(FEATURES, name="_conv_head")(x)
        return jnp.mean(nn.relu6(InferenceBatchNorm(name="_bn1")(x)), axis=(1, 2))


class _Block(nn.Module):
    """Inverted residual: widen, convolve each channel by itself, narrow (MobileNetV2, arXiv 1801.04381)."""

    kernel: int
    stride: int
    expand: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x
        if self.expand > 1:
            y = _Pointwise(self.expand * x.shape[-1], name="_expand_conv")(y)
            y = nn.relu6(InferenceBatchNorm(name="_bn0")(y))
        y = _Depthwise(self.kernel, self.stride, name="_depthwise_conv")(y)
        y = nn.relu6(InferenceBatchNorm(name="_bn1")(y))
        y = InferenceBatchNorm(name="_bn2")(_Pointwise(self.features, name="_project_conv")(y))
        return x + y if y.shape == x.shape else y


class _Pointwise(nn.Module):
    """1 x 1 convolution without bias, kernel (1, 1, in, out)."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (1, 1, x.shape[-1], self.features))
        return jnp.dot(x, kernel[0, 0])


class _Depthwise(nn.Module):
    """Convolution of each channel by itself, padded as TensorFlow's "SAME", without bias, kernel (k, k, 1, c).

    Written as the sum of k * k shifted products: XLA's grouped convolution is over twenty times slower on a CPU.
    """

    kernel: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, stride, channels = self.kernel, self.stride, x.shape[-1]
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (size, size, 1, channels))
        outputs = [-(-length // stride) for length in x.shape[1:3]]
        padding = [max((n - 1) * stride + size - length, 0) for n, length in zip(outputs, x.shape[1:3], strict=True)]
        x = jnp.pad(x, ((0, 0), *((total // 2, total - total // 2) for total in padding), (0, 0)))
        height, width = ((n - 1) * stride + 1 for n in outputs)
        return sum(
            x[:, row : row + height : stride, column : column + width : stride] * kernel[row, column, 0]
            for row in range(size)
            for column in range(size)
        )
