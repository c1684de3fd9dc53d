"""Transformer blocks over image and text tokens together (MMDiT, Esser et al. 2024, arXiv 2403.03206)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.attention import attend
from lisa_jax.models.layers import Linear

NORM_EPS = 1e-6  # of every norm, those of queries and keys too


class JointBlockSettings(NamedTuple):
    """What all blocks of one network have in common.

    Attributes:
      heads: of attention.
      qk_norm: whether queries and keys are normalised (RMSNorm) head by head.
      dtype: compute dtype; norm statistics and softmax are in float32.
      attention: implementation of attention, see `attention.attend`.
      recompute_attention: see `attention.attend`.
    """

    heads: int
    qk_norm: bool
    dtype: jnp.dtype = jnp.float32
    attention: str = "auto"
    recompute_attention: bool = False


class Modulation(nn.Module):
    """SiLU and a linear map from the embedding of time to `count` vectors (diffusers' `AdaLayerNorm...` `linear`)."""

    count: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, time: jax.Array) -> list[jax.Array]:
        """time: (n, d). Returns `count` arrays (n, 1, d) in the compute dtype."""
        vectors = Linear(self.count * time.shape[-1], dtype=self.dtype, name="linear")(nn.silu(time))
        return jnp.split(vectors[:, None], self.count, axis=-1)


def normalised(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """LayerNorm over the last axis without parameters; statistics in float32, result in `dtype`."""
    x = x.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + NORM_EPS)).astype(dtype)


def modulated(normal: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Shift and scale (n, 1, d) normalised tokens (n, l, d)."""
    return normal * (1 + scale) + shift


class JointAttention(nn.Module):
    """Self-attention over image tokens, or over image and text tokens together, each with projections of its own.

    diffusers' `Attention` with `JointAttnProcessor2_0`. No text token is masked, whatever it stands for.
    `text_ends` leaves out the projection of what text tokens attend to.
    """

    settings: JointBlockSettings
    text_ends: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, text: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """x: (n, l, d); text: (n, m, d) or None. Returns the same, text None where it ends or there is none."""
        heads, qk_norm, dtype, attention, recompute = self.settings
        width = x.shape[-1]

        def project(tokens: jax.Array, linear: str, norm: str) -> tuple[jax.Array, ...]:
            """Queries, keys and values (n, l, heads, d / heads)."""
            arrays = {name: Linear(width, dtype=dtype, name=linear.format(name))(tokens) for name in "qkv"}
            arrays = {name: array.reshape(*tokens.shape[:2], heads, -1) for name, array in arrays.items()}
            for name in "qk" if qk_norm else "":
                arrays[name] = nn.RMSNorm(NORM_EPS, dtype=dtype, name=norm.format(name))(arrays[name])
            return tuple(arrays.values())

        inputs = project(x, "to_{}", "norm_{}")
        if text is not None:
            added = project(text, "add_{}_proj", "norm_added_{}")
            inputs = tuple(jnp.concatenate(pair, axis=1) for pair in zip(inputs, added, strict=True))
        y = attend(*inputs, attention, recompute).reshape(x.shape[0], -1, width)
        attended = Linear(width, dtype=dtype, name="to_out_0")(y[:, : x.shape[1]])
        if text is None or self.text_ends:
            return attended, None
        return attended, Linear(width, dtype=dtype, name="to_add_out")(y[:, x.shape[1] :])


class GELU(nn.Module):
    """Linear, then GELU by its tanh approximation (diffusers' `GELU`)."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.gelu(Linear(self.features, dtype=self.dtype, name="proj")(x), approximate=True)


class GELUFeedForward(nn.Module):
    """GELU of 4 times the width, then a linear map back (diffusers' `FeedForward`, "gelu-approximate")."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = GELU(4 * x.shape[-1], dtype=self.dtype, name="net_0")(x)
        return Linear(x.shape[-1], dtype=self.dtype, name="net_2")(hidden)  # net_1 is the dropout


class JointBlock(nn.Module):
    """Attention over image and text, feed-forward in each, modulated by time (diffusers' `JointTransformerBlock`).

    Attributes:
      settings: of all blocks.
      dual_attention: a second attention over the image tokens alone (SD3.5-medium).
      text_ends: text tokens are attended to but not carried on, as in a network's last block (`context_pre_only`).
    """

    settings: JointBlockSettings
    dual_attention: bool = False
    text_ends: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, text: jax.Array | None, time: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """One block.

        Args:
          x: (n, l, d) image tokens.
          text: (n, m, d) text tokens; None: there are none (diffusers' `SD3SingleTransformerBlock`).
          time: (n, d) embedding of time.

        Returns:
          Image and text tokens; text tokens that end come back as they are.
        """
        dtype = self.settings.dtype
        shift, scale, *rest = Modulation(9 if self.dual_attention else 6, dtype, name="norm1")(time)
        gate, *feed_forward, second = *rest[:4], rest[4:]
        text_normal, *text_rest = (None,) if text is None else self._modulated_text(text, time)
        normal = normalised(x, dtype)
        attention = JointAttention(self.settings, self.text_ends, name="attn")
        attended, text_attended = attention(modulated(normal, shift, scale), text_normal)
        x = x + gate * attended
        if self.dual_attention:
            shift, scale, gate = second
            x = x + gate * JointAttention(self.settings, name="attn2")(modulated(normal, shift, scale))[0]
        x = self._fed_forward(x, *feed_forward, "ff")
        if text_attended is None:
            return x, text
        gate, *feed_forward = text_rest
        return x, self._fed_forward(text + gate * text_attended, *feed_forward, "ff_context")

    def _modulated_text(self, text: jax.Array, time: jax.Array) -> list[jax.Array]:
        """Text tokens before attention, then the gate of attention and what feed-forward is modulated by."""
        vectors = Modulation(2 if self.text_ends else 6, self.settings.dtype, name="norm1_context")(time)
        # The norm before an end has its scale first (diffusers' `AdaLayerNormContinuous`).
        shift, scale = reversed(vectors) if self.text_ends else vectors[:2]
        return [modulated(normalised(text, self.settings.dtype), shift, scale), *vectors[2:]]

    def _fed_forward(self, x: jax.Array, shift: jax.Array, scale: jax.Array, gate: jax.Array, name: str) -> jax.Array:
        dtype = self.settings.dtype
        return x + gate * GELUFeedForward(dtype, name=name)(modulated(normalised(x, dtype), shift, scale))
