"""Text-conditioned transformer blocks of the UNet."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models import splash
from lisa_jax.models.layers import Conv, HalvedLinear, Linear
from lisa_jax.models.mesh import platform, runs_on_ampere
from lisa_jax.models.norms import LayerNorm, group_norm
from lisa_jax.models.remat import rematerialised

ATTENTION_IMPLEMENTATIONS = ("auto", "xla", "cudnn", "splash")
CUDNN_MAX_HEAD = 128  # widest head of its backward pass on every GPU that it supports
TRANSFORMER_NORM_EPS = 1e-6  # of the GroupNorm in front, whatever `norm_eps` says


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, implementation: str = "auto", recompute: bool = False
) -> jax.Array:
    """Scaled dot-product attention.

    Args:
      query: (n, l, heads, d).
      key: (n, m, heads, d).
      value: (n, m, heads, d).
      implementation: "xla" builds the l x m scores in memory; "cudnn" is fused and never does, on NVIDIA GPUs for
        bfloat16 and float16; "splash" is the same on TPUs, for self-attention over many tokens, and xla for the rest
        (see `splash.takes`); "auto" takes cudnn or splash where they run.
      recompute: in the backward pass compute the scores again where they would be stored.

    Returns:
      (n, l, heads, d) in the dtype of the query.
    Raises:
      ValueError: an implementation that does not exist, or splash for another platform.
    """
    if implementation not in ATTENTION_IMPLEMENTATIONS:
        raise ValueError(f"attention '{implementation}' does not exist: use {', '.join(ATTENTION_IMPLEMENTATIONS)}.")
    if implementation == "splash" and platform() != "tpu":
        raise ValueError(f"attention 'splash' runs on TPUs only, and this program is for a {platform()}: use 'auto'.")
    if implementation in ("auto", "splash") and platform() == "tpu" and splash.takes(query, key):
        return splash.splash_attention(query, key, value)
    if implementation in ("auto", "splash"):
        implementation = "cudnn" if _cudnn_attends(query) else "xla"
    if implementation == "xla":
        attended = partial(jax.nn.dot_product_attention, implementation="xla")
        return (jax.checkpoint(attended) if recompute else attended)(query, key, value)
    return _fused(query, key, value, implementation)


def _fused(query: jax.Array, key: jax.Array, value: jax.Array, implementation: str) -> jax.Array:
    """Attention by cuDNN, whose backward pass JAX takes at even lengths only: an odd one gets one token, masked out."""
    lengths = query.shape[1], key.shape[1]
    if not any(length % 2 for length in lengths):
        return jax.nn.dot_product_attention(query, key, value, implementation=implementation)
    query, key, value = (
        jnp.pad(array, ((0, 0), (0, array.shape[1] % 2), (0, 0), (0, 0))) for array in (query, key, value)
    )
    of_queries, of_keys = (jnp.full((query.shape[0],), length, jnp.int32) for length in lengths)
    masks = {"query_seq_lengths": of_queries, "key_value_seq_lengths": of_keys}
    return jax.nn.dot_product_attention(query, key, value, **masks, implementation=implementation)[:, : lengths[0]]


def _cudnn_attends(query: jax.Array) -> bool:
    """Whether cuDNN's fused attention takes this query where the program will run: Ampere or newer, half precision."""
    head = query.shape[-1]
    return runs_on_ampere() and query.dtype in (jnp.bfloat16, jnp.float16) and head % 8 == 0 and head <= CUDNN_MAX_HEAD


class Attention(nn.Module):
    """Multi-head attention, queries from x, keys and values from `context` (diffusers' `Attention`).

    Scores are accumulated and normalised in float32 whatever the compute dtype. As products of two bfloat16 (or
    float16) numbers are exact in float32, this is what `upcast_attention` asks for, so that switch needs no other path.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32
    implementation: str = "auto"
    recompute: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, l, c); context: (n, m, d). Returns (n, l, c)."""
        channels = x.shape[-1]

        def project(name: str, inputs: jax.Array) -> jax.Array:
            y = Linear(channels, use_bias=False, dtype=self.dtype, name=name)(inputs)
            return y.reshape(*y.shape[:-1], self.heads, channels // self.heads)

        inputs = project("to_q", x), project("to_k", context), project("to_v", context)
        y = attend(*inputs, self.implementation, self.recompute)
        return Linear(channels, dtype=self.dtype, name="to_out_0")(y.reshape(x.shape))


class GEGLU(nn.Module):
    """Linear to twice the width; first half times exact (erf) GELU of the second (diffusers' `GEGLU`)."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return gated_gelu(*HalvedLinear(2 * self.features, dtype=self.dtype, name="proj")(x))


@jax.custom_vjp
def gated_gelu(hidden: jax.Array, gate: jax.Array) -> jax.Array:
    """hidden * GELU(gate), exact (erf), of two arrays of one shape.

    Computed in float32, as PyTorch computes it, and rounded once: of a half-precision GELU by `jax.nn.gelu` XLA keeps
    parts in memory. The derivative is written by hand so that the backward pass keeps the two arguments only.
    """
    wide_hidden, wide_gate = hidden.astype(jnp.float32), gate.astype(jnp.float32)
    return (wide_hidden * wide_gate * _normal_below(wide_gate)).astype(hidden.dtype)


def _normal_below(gate: jax.Array) -> jax.Array:
    """P(normal < gate): GELU(gate) is the gate times that."""
    return 0.5 * (1.0 + jax.lax.erf(gate / math.sqrt(2)))


def _gated_gelu_backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    hidden, gate, gradient = (array.astype(jnp.float32) for array in (*kept, gradient))
    below = _normal_below(gate)
    density = jnp.exp(-0.5 * jnp.square(gate)) / math.sqrt(2 * math.pi)
    to_hidden, to_gate = gradient * gate * below, gradient * hidden * (below + gate * density)
    return to_hidden.astype(kept[0].dtype), to_gate.astype(kept[1].dtype)


gated_gelu.defvjp(lambda hidden, gate: (gated_gelu(hidden, gate), (hidden, gate)), _gated_gelu_backward)


class FeedForward(nn.Module):
    """GEGLU of 4 times the width, then a linear map back (diffusers' `FeedForward`)."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = GEGLU(4 * x.shape[-1], dtype=self.dtype, name="net_0")(x)
        return Linear(x.shape[-1], dtype=self.dtype, name="net_2")(hidden)  # net_1 is the dropout


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward, each behind a LayerNorm (diffusers' `BasicTransformerBlock`)."""

    heads: int
    only_cross_attention: bool = False
    dtype: jnp.dtype = jnp.float32
    attention: str = "auto"
    recompute_attention: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, l, c); context: (n, m, d). Returns (n, l, c)."""
        settings = self.heads, self.dtype, self.attention, self.recompute_attention
        hidden = LayerNorm(self.dtype, name="norm1")(x)
        attended = context if self.only_cross_attention else hidden
        x += Attention(*settings, name="attn1")(hidden, attended)
        hidden = LayerNorm(self.dtype, name="norm2")(x)
        x += Attention(*settings, name="attn2")(hidden, context)
        return x + FeedForward(self.dtype, name="ff")(LayerNorm(self.dtype, name="norm3")(x))


class Transformer2D(nn.Module):
    """Transformer blocks over the pixels of a feature map (diffusers' `Transformer2DModel`, continuous input).

    `linear_projection` tells SD2.1 (linear) from SD1.5 (1x1 convolution): the same map, stored in another shape.
    """

    heads: int
    layers: int
    norm_groups: int
    linear_projection: bool = False
    only_cross_attention: bool = False
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, h, w, c); context: (n, m, d). Returns (n, h, w, c)."""
        channels = x.shape[-1]

        def project(name: str, inputs: jax.Array) -> jax.Array:
            if self.linear_projection:
                return Linear(channels, dtype=self.dtype, name=name)(inputs)
            return Conv(channels, kernel_size=1, padding=0, dtype=self.dtype, name=name)(inputs)

        hidden = project("proj_in", group_norm(self.norm_groups, TRANSFORMER_NORM_EPS, self.dtype, "norm")(x))
        hidden = hidden.reshape(x.shape[0], -1, channels)
        block = rematerialised(BasicTransformerBlock, self.remat)
        recompute_attention = self.remat == "attention"
        settings = self.heads, self.only_cross_attention, self.dtype, self.attention, recompute_attention
        for i in range(self.layers):
            hidden = block(*settings, name=f"transformer_blocks_{i}")(hidden, context)
        return x + project("proj_out", hidden.reshape(x.shape))
