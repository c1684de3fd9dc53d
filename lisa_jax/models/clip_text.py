"""CLIP's text encoder, as transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`: the context of every Stable
Diffusion network.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020. Parameter
names are transformers' own (`encoder/layers_0/self_attn/q_proj/kernel`).
"""

import dataclasses
import functools
from typing import Annotated, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.config_fields import Epsilon, Heads, Range, Width, check_fields, shown

ACTIVATIONS = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
}

# Configs written before transformers 4.31 carry this wrong id; it stands for "the highest id of the sequence".
LEGACY_EOS_TOKEN_ID = 2


@dataclasses.dataclass(frozen=True)
class CLIPTextConfig:
    """Fields of transformers' `CLIPTextConfig` that decide the network, with its defaults."""

    vocab_size: Annotated[int, Range(1, 2**24)] = 49408
    hidden_size: Width = 512
    intermediate_size: Width = 2048
    num_hidden_layers: Annotated[int, Range(1, 64)] = 12
    num_attention_heads: Heads = 8
    max_position_embeddings: Annotated[int, Range(1, 4096)] = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: Epsilon = 1e-5
    initializer_factor: float = 1.0
    projection_dim: Width = 512
    pad_token_id: int = 1
    bos_token_id: int = 49406
    eos_token_id: int = 49407

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        return self.num_hidden_layers

    def __post_init__(self):
        check_transformer(self)


class TransformerConfig(Protocol):
    """The fields that CLIP's transformer reads, the same in a text and in an image tower's config."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str
    layer_norm_eps: float
    initializer_factor: float


def check_transformer(config: TransformerConfig) -> None:
    """Raise ValueError for a field beyond its type or range, an unknown activation, or heads that do not divide."""
    check_fields(config)
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(
            f"hidden_act {shown(config.hidden_act)} is not supported: use one of {', '.join(ACTIVATIONS)}."
        )
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"hidden_size {config.hidden_size} is not a multiple of num_attention_heads {config.num_attention_heads}."
        )


class TextOutput(NamedTuple):
    """What the encoder returns.

    last_hidden_state: (n, L, hidden_size), after the final layer norm: the context of SD1.5 and SD2.x.
    penultimate: (n, L, hidden_size), before the last layer and any norm (transformers' `hidden_states[-2]`): the
      context of SDXL and SD3.
    pooled: (n, hidden_size), the last hidden state at the end-of-text token.
    """

    last_hidden_state: jax.Array
    penultimate: jax.Array
    pooled: jax.Array


class ProjectedTextOutput(NamedTuple):
    """What the encoder with a projection returns.

    last_hidden_state, penultimate: as of `TextOutput`.
    text_embeds: (n, projection_dim), the projected state of the end-of-text token, not normalised.
    """

    last_hidden_state: jax.Array
    penultimate: jax.Array
    text_embeds: jax.Array


def _normal_dense(features: int, std: float, dtype: jnp.dtype, name: str) -> nn.Dense:
    return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.normal(std), name=name)


def layer_norm(config: TransformerConfig, dtype: jnp.dtype, name: str) -> nn.LayerNorm:
    """Layer norm as PyTorch computes it."""
    return nn.LayerNorm(config.layer_norm_eps, dtype=dtype, use_fast_variance=False, name=name)


class CLIPTextEmbeddings(nn.Module):
    """Token plus learned position embeddings: ids (n, L) -> (n, L, hidden_size)."""

    config: CLIPTextConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        config, init = self.config, nn.initializers.normal(0.02 * self.config.initializer_factor)
        tokens = nn.Embed(
            config.vocab_size, config.hidden_size, dtype=self.dtype, embedding_init=init, name="token_embedding"
        )(ids)
        positions = nn.Embed(
            config.max_position_embeddings,
            config.hidden_size,
            dtype=self.dtype,
            embedding_init=init,
            name="position_embedding",
        )(jnp.arange(ids.shape[1]))
        return tokens + positions


class CLIPAttention(nn.Module):
    """Multi-head self-attention, causal in the text tower and full in the image tower; softmax in float32."""

    config: TransformerConfig
    dtype: jnp.dtype = jnp.float32
    causal: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config = self.config
        n, length, width = x.shape
        heads, head_dim = config.num_attention_heads, width // config.num_attention_heads
        out_std = width**-0.5 * config.initializer_factor
        in_std = out_std * (2 * config.num_hidden_layers) ** -0.5
        query, key, value = (
            _normal_dense(width, in_std, self.dtype, name)(x).reshape(n, length, heads, head_dim)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        logits = jnp.einsum("nqhd,nkhd->nhqk", query, key, preferred_element_type=jnp.float32) * head_dim**-0.5
        if self.causal:
            logits = jnp.where(jnp.tril(jnp.ones((length, length), bool)), logits, -jnp.inf)
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", weights, value).reshape(n, length, width)
        return _normal_dense(width, out_std, self.dtype, "out_proj")(mixed)


class CLIPMLP(nn.Module):
    """Two-layer feed-forward network with the config's activation."""

    config: TransformerConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config, width = self.config, x.shape[-1]
        fc1_std = (2 * width) ** -0.5 * config.initializer_factor
        fc2_std = width**-0.5 * (2 * config.num_hidden_layers) ** -0.5 * config.initializer_factor
        hidden = _normal_dense(config.intermediate_size, fc1_std, self.dtype, "fc1")(x)
        return _normal_dense(width, fc2_std, self.dtype, "fc2")(ACTIVATIONS[config.hidden_act](hidden))


class CLIPEncoderLayer(nn.Module):
    """Pre-norm transformer layer."""

    config: TransformerConfig
    dtype: jnp.dtype = jnp.float32
    causal: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config, dtype = self.config, self.dtype
        x = x + CLIPAttention(config, dtype, self.causal, name="self_attn")(layer_norm(config, dtype, "layer_norm1")(x))
        return x + CLIPMLP(config, dtype, name="mlp")(layer_norm(config, dtype, "layer_norm2")(x))


class CLIPEncoder(nn.Module):
    """The stack of layers: (n, L, hidden_size) -> what the last of them gives, and what it takes."""

    config: TransformerConfig
    dtype: jnp.dtype = jnp.float32
    causal: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for i in range(self.config.num_hidden_layers):
            penultimate, x = x, CLIPEncoderLayer(self.config, self.dtype, self.causal, name=f"layers_{i}")(x)
        return x, penultimate


class CLIPTextModel(nn.Module):
    """The text encoder. Fresh parameters follow transformers' initialisation and are float32.

    `dtype` is the dtype of computation and of all outputs.
    """

    config: CLIPTextConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ids: jax.Array) -> TextOutput:
        """Encode token ids.

        Args:
          ids: (n, L) int32 in 0..vocab_size-1, L <= max_position_embeddings. Padding is not masked, as in Stable
            Diffusion: which id pads therefore matters.

        Raises:
          ValueError: L is longer than max_position_embeddings.
        """
        config = self.config
        if ids.shape[1] > config.max_position_embeddings:
            raise ValueError(
                f"ids hold {ids.shape[1]} tokens, but max_position_embeddings is {config.max_position_embeddings}: "
                "truncate the captions."
            )
        x = CLIPTextEmbeddings(config, self.dtype, name="embeddings")(ids)
        x, penultimate = CLIPEncoder(config, self.dtype, name="encoder")(x)
        x = layer_norm(config, self.dtype, "final_layer_norm")(x)
        is_end = ids if config.eos_token_id == LEGACY_EOS_TOKEN_ID else ids == config.eos_token_id
        end = jnp.argmax(is_end, axis=1)  # the first one: padding may be the end-of-text token too
        return TextOutput(x, penultimate, jnp.take_along_axis(x, end[:, None, None], axis=1)[:, 0])


class CLIPTextModelWithProjection(nn.Module):
    """The text encoder with CLIP's projection of its pooled state, as in SDXL and SD3; else as `CLIPTextModel`."""

    config: CLIPTextConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ids: jax.Array) -> ProjectedTextOutput:
        """Encode token ids, see `CLIPTextModel`."""
        config = self.config
        last_hidden_state, penultimate, pooled = CLIPTextModel(config, self.dtype, name="text_model")(ids)
        init = nn.initializers.normal(config.hidden_size**-0.5 * config.initializer_factor)
        project = nn.Dense(
            config.projection_dim, use_bias=False, dtype=self.dtype, kernel_init=init, name="text_projection"
        )
        return ProjectedTextOutput(last_hidden_state, penultimate, project(pooled))
