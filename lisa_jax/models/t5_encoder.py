"""T5's encoder (version 1.1), as transformers' `T5EncoderModel`: the third text encoder of Stable Diffusion 3.

Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", arXiv 1910.10683;
gated feed-forward networks: Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202. Parameter names are
transformers' own (`encoder/block_0/layer_0/SelfAttention/q/kernel`).
"""

import dataclasses
import math
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.models.config_fields import Epsilon, Heads, Range, Width, check_fields, shown

GATED_GELU = "gated-gelu"


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Fields of transformers' `T5Config` that decide the encoder, with its defaults.

    Raises:
      ValueError: a field whose value is not supported, by name.
    """

    vocab_size: Annotated[int, Range(1, 2**24)] = 32128
    d_model: Width = 512
    d_kv: Width = 64
    d_ff: Width = 2048
    num_layers: Annotated[int, Range(1, 64)] = 6
    num_heads: Heads = 8
    relative_attention_num_buckets: Annotated[int, Range(4, 4096)] = 32
    relative_attention_max_distance: Annotated[int, Range(2, 2**20)] = 128
    layer_norm_epsilon: Epsilon = 1e-6
    initializer_factor: float = 1.0
    feed_forward_proj: str = "relu"

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        return self.num_layers

    def __post_init__(self) -> None:
        check_fields(self)
        if self.feed_forward_proj != GATED_GELU:
            raise ValueError(
                f"feed_forward_proj {shown(self.feed_forward_proj)} is not supported: only {GATED_GELU!r}, that of "
                "T5 1.1, is."
            )
        if self.relative_attention_max_distance <= self.relative_attention_num_buckets // 4:
            raise ValueError(
                f"relative_attention_max_distance {self.relative_attention_max_distance} must be more than a quarter "
                f"of the {self.relative_attention_num_buckets} relative_attention_num_buckets."
            )


def _dense(features: int, std: float, dtype: jnp.dtype, name: str) -> nn.Dense:
    return nn.Dense(features, use_bias=False, dtype=dtype, kernel_init=nn.initializers.normal(std), name=name)


def _rms_norm(config: T5Config, dtype: jnp.dtype, name: str) -> nn.RMSNorm:
    """T5's norm, whose mean of squares is computed in float32."""
    return nn.RMSNorm(config.layer_norm_epsilon, dtype=dtype, name=name)


def relative_position_buckets(length: int, buckets: int, max_distance: int) -> np.ndarray:
    """Buckets of the distances between tokens (transformers' `_relative_position_bucket`, in both directions).

    Half of the buckets are of keys behind the query. Of each half, the first half are single distances and the others
    grow with the logarithm; the last one is also that of all distances from `max_distance` on.

    Args:
      length: tokens.
      buckets: how many there are, at least 4.
      max_distance: more than a quarter of that.

    Returns:
      int32 (length, length), query by key.
    """
    # In numpy: a logarithm that rounds otherwise on another device would put distances into other buckets.
    offset = np.arange(length, dtype=np.int32)[None, :] - np.arange(length, dtype=np.int32)[:, None]
    half, distance = buckets // 2, np.abs(offset)
    single = half // 2
    growth = np.log(np.maximum(distance, 1).astype(np.float32) / single) / math.log(max_distance / single)
    far = np.minimum(single + (growth * (half - single)).astype(np.int32), half - 1)
    return np.where(offset > 0, half, 0) + np.where(distance < single, distance, far)


class T5Attention(nn.Module):
    """Self-attention over all tokens, neither masked nor scaled; softmax in float32.

    Attributes:
      has_bias: whether it holds the table of relative positions, as that of the first block does for all of them.
    """

    config: T5Config
    dtype: jnp.dtype
    has_bias: bool

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """x: (n, L, d_model); bias: float32 (heads, L, L), None where it is made here. Returns both."""
        config = self.config
        width, (n, length, inputs) = config.num_heads * config.d_kv, x.shape
        query, key, value = (
            _dense(width, std * config.initializer_factor, self.dtype, name)(x).reshape(n, length, -1, config.d_kv)
            for name, std in (("q", (inputs * config.d_kv) ** -0.5), ("k", inputs**-0.5), ("v", inputs**-0.5))
        )
        bias = self._bias(length) if self.has_bias else bias
        logits = jnp.einsum("nqhd,nkhd->nhqk", query, key, preferred_element_type=jnp.float32) + bias
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", weights, value).reshape(n, length, width)
        return _dense(inputs, width**-0.5 * config.initializer_factor, self.dtype, "o")(mixed), bias

    def _bias(self, length: int) -> jax.Array:
        config = self.config
        buckets = relative_position_buckets(
            length, config.relative_attention_num_buckets, config.relative_attention_max_distance
        )
        table = nn.Embed(
            config.relative_attention_num_buckets,
            config.num_heads,
            dtype=jnp.float32,
            embedding_init=nn.initializers.normal(config.d_model**-0.5 * config.initializer_factor),
            name="relative_attention_bias",
        )
        return table(buckets).transpose(2, 0, 1)


class T5GatedFeedForward(nn.Module):
    """Feed-forward network with a gate of tanh-approximated GELU (transformers' `T5DenseGatedActDense`)."""

    config: T5Config
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, L, d_model). Returns (n, L, d_model)."""
        config, width = self.config, x.shape[-1]
        in_std, out_std = (size**-0.5 * config.initializer_factor for size in (width, config.d_ff))
        gate, hidden = (_dense(config.d_ff, in_std, self.dtype, name)(x) for name in ("wi_0", "wi_1"))
        return _dense(width, out_std, self.dtype, "wo")(jax.nn.gelu(gate, approximate=True) * hidden)


class T5SelfAttentionLayer(nn.Module):
    """Pre-norm attention, added to its input."""

    config: T5Config
    dtype: jnp.dtype
    has_bias: bool

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """As `T5Attention`."""
        attention = T5Attention(self.config, self.dtype, self.has_bias, name="SelfAttention")
        mixed, bias = attention(_rms_norm(self.config, self.dtype, "layer_norm")(x), bias)
        return x + mixed, bias


class T5FeedForwardLayer(nn.Module):
    """Pre-norm feed-forward network, added to its input."""

    config: T5Config
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, L, d_model). Returns (n, L, d_model)."""
        hidden = _rms_norm(self.config, self.dtype, "layer_norm")(x)
        return x + T5GatedFeedForward(self.config, self.dtype, name="DenseReluDense")(hidden)


class T5Block(nn.Module):
    """Attention, then the feed-forward network."""

    config: T5Config
    dtype: jnp.dtype
    has_bias: bool

    @nn.compact
    def __call__(self, x: jax.Array, bias: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """As `T5Attention`."""
        x, bias = T5SelfAttentionLayer(self.config, self.dtype, self.has_bias, name="layer_0")(x, bias)
        return T5FeedForwardLayer(self.config, self.dtype, name="layer_1")(x), bias


class T5Stack(nn.Module):
    """All blocks and the last norm; what is added up along them stays in float32."""

    config: T5Config
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: float32 (n, L, d_model). Returns (n, L, d_model) in the compute dtype."""
        bias = None
        for i in range(self.config.num_layers):
            x, bias = T5Block(self.config, self.dtype, i == 0, name=f"block_{i}")(x, bias)
        return _rms_norm(self.config, self.dtype, "final_layer_norm")(x)


class T5EncoderModel(nn.Module):
    """The text encoder. Fresh parameters follow transformers' initialisation and are float32.

    `dtype` is the dtype of computation and of the output; sums along the blocks, norms and softmax are in float32, as
    the activations of the published encoders overflow in float16.
    """

    config: T5Config
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """Encode token ids.

        Args:
          ids: (n, L) int32 in 0..vocab_size-1. Padding is not masked, as in Stable Diffusion 3.

        Returns:
          (n, L, d_model), the last hidden state after the final norm.
        """
        config = self.config
        init = nn.initializers.normal(config.initializer_factor)
        embed = nn.Embed(config.vocab_size, config.d_model, embedding_init=init, name="shared")
        return T5Stack(config, self.dtype, name="encoder")(embed(ids).astype(jnp.float32))
