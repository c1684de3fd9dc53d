"""Layers with PyTorch's defaults: convolutions and linear maps born as PyTorch's are.

Parameters stay in the dtype in which they are stored and are cast to the compute dtype where they are used.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import ScopeParamShapeError
from jax.experimental.layout import Layout, with_layout_constraint

from lisa_jax.models.mesh import is_looped, platform, summed_over_rows

# Times PyTorch's default, with which a linear map and SiLU after it keep the power of a normal input:
# sqrt(3 / E[silu(x)^2]).
SILU_BIRTH = 2.904


def pytorch_uniform(fan_in: int, scale: float = 1.0) -> nn.initializers.Initializer:
    """U(-scale/sqrt(fan_in), scale/sqrt(fan_in)); with scale 1 PyTorch's default for `Conv2d` and `Linear`."""
    bound = scale / math.sqrt(fan_in)

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def birth_of(fan_in: int, birth: float) -> nn.initializers.Initializer:
    """PyTorch's default times `birth`; of 0 all zeros (diffusers' `zero_module`)."""
    return pytorch_uniform(fan_in, birth) if birth else nn.initializers.zeros_init()


class Layer(nn.Module):
    """A module whose parameters are read without being born again.

    Flax traces a parameter's initialiser wherever it is read, for its shape: a tenth of the time of tracing a network.
    """

    @nn.nowrap
    def param(self, name: str, init: nn.initializers.Initializer, shape: tuple[int, ...]) -> jax.Array:
        """The parameter of this name, made by `init(key, shape)` where it is missing.

        Raises:
          flax.errors.ScopeParamShapeError: what is there has another shape.
        """
        if self.is_mutable_collection("params") or not self.has_variable("params", name):
            return super().param(name, init, shape)
        value = self.get_variable("params", name)
        if value.shape != shape:
            raise ScopeParamShapeError(name, "/".join(self.path), value.shape, shape)
        return value


class Factored(Layer):
    """A map whose parameters may have two factors beside its kernel, "down" and "up", whose product is added to it.

    It makes none itself: who gives them trains them in place of the kernel (Hu et al. 2021, arXiv 2106.09685).
    """

    def factors(self) -> tuple[jax.Array, jax.Array] | None:
        """The factors in the compute dtype: "down" laid out as the kernel, with the rank for its outputs, and "up" as a
        map of single pixels (rank, out); None where the parameters have none."""
        if not self.has_variable("params", "up"):
            return None
        down, up = (self.get_variable("params", name).astype(self.dtype) for name in ("down", "up"))
        return down, up.reshape(up.shape[-2:])


class Linear(Factored):
    """`y = x kernel + bias` over the last axis (`torch.nn.Linear`), kernel (in, out); `birth` as of `Conv`."""

    features: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32
    birth: float = 1.0

    def setup_kernel(self, width: int) -> tuple[jax.Array, jax.Array | None]:
        """Kernel and bias in the compute dtype, for inputs of this width."""
        init = birth_of(width, self.birth)
        kernel = self.param("kernel", init, (width, self.features)).astype(self.dtype)
        return kernel, self.param("bias", init, (self.features,)).astype(self.dtype) if self.use_bias else None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = self.setup_kernel(x.shape[-1])
        x = x.astype(self.dtype)
        y = jnp.dot(x, kernel)
        if (factors := self.factors()) is not None:
            y += jnp.dot(jnp.dot(x, factors[0]), factors[1])
        return y if bias is None else y + bias


class HalvedLinear(Linear):
    """A `Linear` whose result comes as its two halves, each a product of its own: no slice or concatenation of
    activations, forward or backward."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel, bias = self.setup_kernel(x.shape[-1])
        x = x.astype(self.dtype)
        halves = halved_product(x, kernel, bias)
        if (factors := self.factors()) is None:
            return halves
        down, up = factors
        hidden = jnp.dot(x, down)
        return tuple(half + jnp.dot(hidden, part) for half, part in zip(halves, jnp.split(up, 2, axis=-1), strict=True))


@jax.custom_vjp
def halved_product(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two halves of x kernel + bias, (n, ..., c) each; kernel (in, 2c), bias (2c,).

    The derivative is written by hand for one thing: the halves of the kernel's gradient are joined before they are
    added up over devices. XLA moves that sum out of a loop over microbatches only where its result is added to the
    total as it is.
    """
    return _halved_product(x, kernel, bias)[0]


def _halved_product(x, kernel, bias):
    halves = zip(jnp.split(kernel, 2, axis=-1), jnp.split(bias, 2), strict=True)
    first, second = (jnp.dot(x, half) + offset for half, offset in halves)
    return (first, second), (x, kernel)


def _halved_product_backward(kept, gradients):
    x, kernel = kept
    parts = zip(gradients, jnp.split(kernel, 2, axis=-1), strict=True)
    x_gradient = sum(jnp.dot(gradient, half.T) for gradient, half in parts)

    def of_rows(x: jax.Array, *gradients: jax.Array) -> tuple[jax.Array, jax.Array]:
        axes = tuple(range(x.ndim - 1))
        kernels = [jnp.tensordot(x, gradient, (axes, axes)) for gradient in gradients]
        return jnp.concatenate(kernels, axis=-1), jnp.concatenate([jnp.sum(one, axis=axes) for one in gradients])

    return (x_gradient, *summed_over_rows(of_rows, x, *gradients))


halved_product.defvjp(_halved_product, _halved_product_backward)


class Conv(Factored):
    """2D convolution of NHWC arrays (`torch.nn.Conv2d`), kernel HWIO.

    `padding` is PyTorch's symmetric padding, or pairs (before, after) for height and width. `birth` is a factor on
    PyTorch's default for kernel and bias at birth; 0 makes them zero (diffusers' `zero_module`).
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 1
    birth: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        init = birth_of(math.prod(shape[:-1]), self.birth)
        kernel = self.param("kernel", init, shape)
        bias = self.param("bias", init, (self.features,))
        convolved = partial(
            jax.lax.conv_general_dilated,
            x.astype(self.dtype),
            window_strides=(self.stride, self.stride),
            padding=((self.padding, self.padding),) * 2 if isinstance(self.padding, int) else self.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        y = convolved(with_ordered_gradient(kernel.astype(self.dtype)))
        if (factors := self.factors()) is not None:
            y += jnp.dot(convolved(factors[0]), factors[1])
        return y + bias.astype(self.dtype)


def with_ordered_gradient(kernel: jax.Array) -> jax.Array:
    """A kernel (h, w, in, out) whose gradient lies in memory as the kernel does.

    cuDNN gives the gradient as (out, h, w, in). Left so, XLA for GPUs updates in that order and copies parameters and
    moments there and back, in float32; this turns round the gradient alone, in the compute dtype. Not in a loop over
    microbatches, out of which XLA moves sums over devices only where their result is added to the total as it is.
    """
    return _with_ordered_gradient(kernel) if platform() == "gpu" and not is_looped() else kernel


@jax.custom_vjp
def _with_ordered_gradient(kernel: jax.Array) -> jax.Array:
    return kernel


def _ordered(_: None, gradient: jax.Array) -> tuple[jax.Array]:
    ordered = with_layout_constraint(gradient, Layout(tuple(range(gradient.ndim))))
    # Otherwise XLA turns round what it computes from the gradient, twice and in float32.
    return (jax.lax.optimization_barrier(ordered),)


_with_ordered_gradient.defvjp(lambda kernel: (kernel, None), _ordered)


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
