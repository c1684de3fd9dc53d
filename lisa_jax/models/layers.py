"""Layers with PyTorch's defaults: convolutions and linear maps born as PyTorch's are, norms with float32 statistics.

Parameters stay in the dtype in which they are stored and are cast to the compute dtype where they are used.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

LAYER_NORM_EPS = 1e-5


def pytorch_uniform(fan_in: int) -> nn.initializers.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default for kernel and bias of `Conv2d` and `Linear`."""
    bound = 1 / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Linear(nn.Module):
    """`y = x kernel + bias` over the last axis (`torch.nn.Linear`), kernel (in, out)."""

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = pytorch_uniform(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        y = jnp.dot(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y += self.param("bias", init, (self.features,)).astype(self.dtype)
        return y


class Conv(nn.Module):
    """2D convolution of NHWC arrays (`torch.nn.Conv2d`), kernel HWIO.

    `padding` is PyTorch's symmetric padding, or pairs (before, after) for height and width; `zero_init` makes kernel
    and bias zero at birth (diffusers' `zero_module`).
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 1
    zero_init: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        init = nn.initializers.zeros_init() if self.zero_init else pytorch_uniform(math.prod(shape[:-1]))
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init, (self.features,))
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding=((self.padding, self.padding),) * 2 if isinstance(self.padding, int) else self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + bias.astype(self.dtype)


def group_norm(groups: int, eps: float, dtype: jnp.dtype, name: str | None = None) -> nn.GroupNorm:
    """`torch.nn.GroupNorm`: two-pass variance in float32 (Flax's fast variance loses digits where |mean| >> std)."""
    return nn.GroupNorm(num_groups=groups, epsilon=eps, use_fast_variance=False, dtype=dtype, name=name)


def layer_norm(dtype: jnp.dtype, name: str) -> nn.LayerNorm:
    """`torch.nn.LayerNorm` over the last axis with PyTorch's epsilon, 1e-5 (Flax's default is 1e-6)."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPS, use_fast_variance=False, dtype=dtype, name=name)


def resize_nearest(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resize NHWC to `size` as `torch.nn.functional.interpolate(mode="nearest")`: row i comes from row i * h // size.

    `jax.image.resize` samples at pixel centres instead and differs where the factor is no integer.
    """
    for axis, (old, new) in enumerate(zip(x.shape[1:3], size, strict=True), start=1):
        if new % old == 0:
            x = jnp.repeat(x, new // old, axis=axis)  # a broadcast: cheaper to differentiate than a gather
        else:
            x = jnp.take(x, np.arange(new) * old // new, axis=axis)
    return x
