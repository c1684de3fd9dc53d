"""GroupNorm and LayerNorm with statistics in float32, and with derivatives that keep little for the backward pass."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.layers import Layer
from lisa_jax.models.mesh import platform

LAYER_NORM_EPS = 1e-5


class GroupNorm(Layer):
    """`torch.nn.GroupNorm` of NHWC arrays, with SiLU after it if asked for; statistics in float32.

    Parameters are those of `flax.linen.GroupNorm`, "scale" and "bias", each (c,).
    """

    groups: int
    eps: float
    dtype: jnp.dtype = jnp.float32
    silu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, ..., c). Returns the same shape in the compute dtype."""
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        rows = x.astype(self.dtype).reshape(x.shape[0], -1, x.shape[-1])
        return normalise_groups(rows, scale, bias, self.groups, self.eps, self.silu).reshape(x.shape)


def group_norm(groups: int, eps: float, dtype: jnp.dtype, name: str | None = None, silu: bool = False) -> GroupNorm:
    """A `GroupNorm`; `silu` applies SiLU to its result in the same pass over memory."""
    return GroupNorm(groups, eps, dtype, silu, name=name)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def normalise_groups(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, eps: float, silu: bool) -> jax.Array:
    """GroupNorm of x (n, l, c), then SiLU if asked for, in the dtype of x.

    The derivative is written by hand so that the backward pass keeps x and two numbers a group, nothing of the size of
    x in float32. All reductions are over l first, channel by channel: contiguous in memory, unlike a group's c / groups
    channels.
    """
    return _normalise_groups(x, scale, bias, groups, eps, silu)[0]


def _normalise_groups(x, scale, bias, groups, eps, silu):
    mean, inverse_std = _group_statistics(x.astype(jnp.float32), groups, eps, fast=x.dtype != jnp.float32)
    y = (x.astype(jnp.float32) - mean) * (inverse_std * scale) + bias
    return (nn.silu(y) if silu else y).astype(x.dtype), (x, scale, bias, mean, inverse_std)


def _group_statistics(x: jax.Array, groups: int, eps: float, fast: bool) -> tuple[jax.Array, jax.Array]:
    """Mean and 1 / standard deviation of every group, repeated for its channels: (n, 1, c) float32.

    The fast variance, E[x^2] - E[x]^2, reads x once but loses digits where |mean| >> std: no more than a half-precision
    x has lost already, too many for float32.
    """
    mean = _group_mean(jnp.mean(x, axis=1), groups)
    if fast:
        variance = jnp.maximum(_group_mean(jnp.mean(jnp.square(x), axis=1), groups) - jnp.square(mean), 0.0)
    else:
        variance = _group_mean(jnp.mean(jnp.square(x - mean), axis=1), groups)
    return mean, jax.lax.rsqrt(variance + eps)


def _group_mean(channels: jax.Array, groups: int) -> jax.Array:
    """Mean over the channels of each group, repeated for each of them: (n, c) -> (n, 1, c)."""
    n, count = channels.shape
    means = jnp.mean(channels.reshape(n, groups, count // groups), axis=-1)
    return jnp.repeat(means, count // groups, axis=-1)[:, None]


def _normalise_groups_backward(groups, eps, silu, kept, gradient):
    x, scale, bias, mean, inverse_std = kept

    def elementwise(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Normalised x, and the gradient in front of SiLU, float32."""
        normal, gradient = (x.astype(jnp.float32) - mean) * inverse_std, gradient.astype(jnp.float32)
        if silu:
            y = normal * scale + bias
            gate = jax.nn.sigmoid(y)
            gradient = gradient * gate * (1.0 + y * (1.0 - gate))
        return normal, gradient

    normal, before_silu = elementwise(x, gradient)
    along_bias, along_scale = _mean_over_pixels(before_silu), _mean_over_pixels(before_silu * normal)
    # Computed anew from x and the gradient, both in half precision: XLA would keep float32 copies of what the sums saw.
    along_bias, along_scale, x, gradient = jax.lax.optimization_barrier((along_bias, along_scale, x, gradient))
    normal, gradient = elementwise(x, gradient)
    x_gradient = inverse_std * (
        gradient * scale - _group_mean(along_bias * scale, groups) - normal * _group_mean(along_scale * scale, groups)
    )
    length = x.shape[1]
    scale_gradient, bias_gradient = jnp.sum(length * along_scale, axis=0), jnp.sum(length * along_bias, axis=0)
    return x_gradient.astype(x.dtype), scale_gradient.astype(scale.dtype), bias_gradient.astype(bias.dtype)


def _mean_over_pixels(x: jax.Array) -> jax.Array:
    """Mean over the pixels of x (n, l, c), (n, c); on GPUs first of runs of about sqrt(l) of them.

    XLA for GPUs fuses a sum with what it sums only where there is enough to do side by side; of a whole picture's it
    wrote that to memory first, in float32. XLA for TPUs fuses the sum of all, and of runs it does not.
    """
    if platform() != "gpu":
        return jnp.mean(x, axis=1)
    n, l, c = x.shape
    run = next(size for size in range(math.isqrt(l), 0, -1) if l % size == 0)
    return jnp.mean(jnp.mean(x.reshape(n, l // run, run, c), axis=2), axis=1)


normalise_groups.defvjp(_normalise_groups, _normalise_groups_backward)


class LayerNorm(Layer):
    """`torch.nn.LayerNorm` over the last axis with PyTorch's epsilon; statistics in float32.

    Parameters are those of `flax.linen.LayerNorm`, "scale" and "bias", each (c,).
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (..., c). Returns the same shape in the compute dtype."""
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        return normalise_rows(x.astype(self.dtype), scale, bias)


@jax.custom_vjp
def normalise_rows(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """LayerNorm of x (..., c) in the dtype of x.

    The derivative is written by hand so that the backward pass keeps x and two numbers a row, and sums what the
    parameters get from x and the gradient, nothing of their size in float32.
    """
    return _normalise_rows(x, scale, bias)[0]


def _normalise_rows(x, scale, bias):
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(wide - mean), axis=-1, keepdims=True)
    inverse_std = jax.lax.rsqrt(variance + LAYER_NORM_EPS)
    return ((wide - mean) * (inverse_std * scale) + bias).astype(x.dtype), (x, scale, bias, mean, inverse_std)


def _normalise_rows_backward(kept, gradient):
    x, scale, bias, mean, inverse_std = kept

    def in_float32(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Normalised x and the gradient."""
        return (x.astype(jnp.float32) - mean) * inverse_std, gradient.astype(jnp.float32)

    normal, before = in_float32(x, gradient)
    scaled = before * scale
    along = jnp.mean(scaled, axis=-1, keepdims=True) + normal * jnp.mean(scaled * normal, axis=-1, keepdims=True)
    x_gradient = (inverse_std * (scaled - along)).astype(x.dtype)
    if platform() == "gpu":
        # Computed anew, as of groups. Elsewhere XLA keeps nothing.
        normal, before = in_float32(*jax.lax.optimization_barrier((x, gradient)))
    rows = [wide.reshape(x.shape[0], -1, x.shape[-1]) for wide in (before * normal, before)]
    scale_gradient, bias_gradient = (jnp.sum(wide.shape[1] * _mean_over_pixels(wide), axis=0) for wide in rows)
    return x_gradient, scale_gradient.astype(scale.dtype), bias_gradient.astype(bias.dtype)


normalise_rows.defvjp(_normalise_rows, _normalise_rows_backward)
