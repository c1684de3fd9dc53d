"""CLIP's image tower: a vision transformer whose class token describes the picture.

As transformers' `CLIPVisionModel` and `CLIPVisionModelWithProjection`.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv 2103.00020. Parameter
names are transformers' own, the spelling of `pre_layrnorm` included.
"""

import dataclasses
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.clip_text import CLIPEncoder, check_transformer, layer_norm
from lisa_jax.models.config_fields import Epsilon, Heads, Range, Width


@dataclasses.dataclass(frozen=True)
class CLIPVisionConfig:
    """Fields of transformers' `CLIPVisionConfig` that decide the network, with its defaults."""

    hidden_size: Width = 768
    intermediate_size: Width = 3072
    num_hidden_layers: Annotated[int, Range(1, 64)] = 12
    num_attention_heads: Heads = 12
    num_channels: Annotated[int, Range(1, 1024)] = 3
    image_size: Annotated[int, Range(1, 4096)] = 224
    patch_size: Annotated[int, Range(1, 4096)] = 32
    hidden_act: str = "quick_gelu"
    layer_norm_eps: Epsilon = 1e-5
    initializer_factor: float = 1.0
    projection_dim: Width = 512

    @property
    def layers(self) -> int:
        """Transformer blocks."""
        return self.num_hidden_layers

    def __post_init__(self):
        check_transformer(self)
        if not 0 < self.patch_size <= self.image_size:
            raise ValueError(f"patch_size {self.patch_size} does not fit into image_size {self.image_size}.")


class CLIPVisionEmbeddings(nn.Module):
    """Class token and patches, plus learned positions: (n, H, W, channels) -> (n, 1 + patches, hidden_size).

    A rest at the right and lower border that fills no patch is left out.
    """

    config: CLIPVisionConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        config, init = self.config, nn.initializers.normal(0.02 * self.config.initializer_factor)
        patches = nn.Conv(
            config.hidden_size,
            (config.patch_size, config.patch_size),
            strides=config.patch_size,
            padding="VALID",
            use_bias=False,
            dtype=self.dtype,
            kernel_init=init,
            name="patch_embedding",
        )(pixels)
        patches = patches.reshape(pixels.shape[0], -1, config.hidden_size)
        class_init = nn.initializers.normal(config.hidden_size**-0.5 * config.initializer_factor)
        token = self.param("class_embedding", class_init, (config.hidden_size,)).astype(self.dtype)
        tokens = jnp.concatenate([jnp.broadcast_to(token, (pixels.shape[0], 1, config.hidden_size)), patches], axis=1)
        positions = nn.Embed(
            tokens.shape[1], config.hidden_size, dtype=self.dtype, embedding_init=init, name="position_embedding"
        )(jnp.arange(tokens.shape[1]))
        return tokens + positions


class CLIPVisionModel(nn.Module):
    """The image tower. `dtype` is the dtype of computation and output."""

    config: CLIPVisionConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """The class token after the last layer norm (transformers' `pooler_output`), (n, hidden_size).

        Args:
          pixels: (n, image_size, image_size, num_channels), normalised as the checkpoint's preprocessor says.

        Raises:
          ValueError: pictures of another size.
        """
        config, dtype = self.config, self.dtype
        expected = (config.image_size, config.image_size, config.num_channels)
        if pixels.shape[1:] != expected:
            raise ValueError(f"pixels are {pixels.shape[1:]}, but this image tower takes {expected}.")
        x = CLIPVisionEmbeddings(config, dtype, name="embeddings")(pixels)
        x = layer_norm(config, dtype, "pre_layrnorm")(x)
        x, _ = CLIPEncoder(config, dtype, causal=False, name="encoder")(x)
        return layer_norm(config, dtype, "post_layernorm")(x[:, 0])


class CLIPVisionModelWithProjection(nn.Module):
    """The image tower and its projection into the space that CLIP's towers share."""

    config: CLIPVisionConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, pixels: jax.Array) -> jax.Array:
        """transformers' `image_embeds`, (n, projection_dim), of pixels as `CLIPVisionModel` takes them."""
        pooled = CLIPVisionModel(self.config, self.dtype, name="vision_model")(pixels)
        return nn.Dense(self.config.projection_dim, use_bias=False, dtype=self.dtype, name="visual_projection")(pooled)
