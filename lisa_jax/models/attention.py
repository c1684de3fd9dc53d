"""Text-conditioned transformer blocks of the UNet."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.layers import Conv, Linear, group_norm, layer_norm

TRANSFORMER_NORM_EPS = 1e-6  # of the GroupNorm in front, whatever `norm_eps` says


class Attention(nn.Module):
    """Multi-head attention, queries from x, keys and values from `context` (diffusers' `Attention`).

    Scores are accumulated and normalised in float32 whatever the compute dtype. As products of two bfloat16 (or
    float16) numbers are exact in float32, this is what `upcast_attention` asks for, so that switch needs no other path.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, l, c); context: (n, m, d). Returns (n, l, c)."""
        channels = x.shape[-1]

        def project(name: str, inputs: jax.Array) -> jax.Array:
            y = Linear(channels, use_bias=False, dtype=self.dtype, name=name)(inputs)
            return y.reshape(*y.shape[:-1], self.heads, channels // self.heads)

        y = jax.nn.dot_product_attention(project("to_q", x), project("to_k", context), project("to_v", context))
        return Linear(channels, dtype=self.dtype, name="to_out_0")(y.reshape(x.shape))


class GEGLU(nn.Module):
    """Linear to twice the width; first half times exact (erf) GELU of the second (diffusers' `GEGLU`)."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden, gate = jnp.split(Linear(2 * self.features, dtype=self.dtype, name="proj")(x), 2, axis=-1)
        return hidden * nn.gelu(gate, approximate=False)


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

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, l, c); context: (n, m, d). Returns (n, l, c)."""
        hidden = layer_norm(self.dtype, "norm1")(x)
        x += Attention(self.heads, self.dtype, name="attn1")(hidden, context if self.only_cross_attention else hidden)
        hidden = layer_norm(self.dtype, "norm2")(x)
        x += Attention(self.heads, self.dtype, name="attn2")(hidden, context)
        return x + FeedForward(self.dtype, name="ff")(layer_norm(self.dtype, "norm3")(x))


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
    remat: bool = False

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
        block = nn.remat(BasicTransformerBlock) if self.remat else BasicTransformerBlock
        for i in range(self.layers):
            hidden = block(self.heads, self.only_cross_attention, self.dtype, name=f"transformer_blocks_{i}")(
                hidden, context
            )
        return x + project("proj_out", hidden.reshape(x.shape))
