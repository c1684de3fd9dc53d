"""CLIP: a text and an image tower that project into one space, as transformers' `CLIPModel`."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel
from lisa_jax.models.clip_vision import CLIPVisionConfig, CLIPVisionModel


@dataclasses.dataclass(frozen=True)
class CLIPConfig:
    """Both towers and the width of the common space."""

    text: CLIPTextConfig
    vision: CLIPVisionConfig
    projection_dim: int = 512

    @property
    def layers(self) -> int:
        """Transformer blocks of both towers."""
        return self.text.num_hidden_layers + self.vision.num_hidden_layers


class CLIPModel(nn.Module):
    """Both towers with their projections, in float32. The trained temperature `logit_scale` is not a part of it."""

    config: CLIPConfig

    def setup(self):
        self.text_model = CLIPTextModel(self.config.text)
        self.vision_model = CLIPVisionModel(self.config.vision)
        self.text_projection = nn.Dense(self.config.projection_dim, use_bias=False)
        self.visual_projection = nn.Dense(self.config.projection_dim, use_bias=False)

    def __call__(self, ids: jax.Array, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Embeddings of texts and of pictures, see the two methods."""
        return self.embed_text(ids), self.embed_images(pixels)

    def embed_text(self, ids: jax.Array) -> jax.Array:
        """float32 (n, projection_dim) of token ids (n, L): the projected end-of-text state, not normalised."""
        return self.text_projection(self.text_model(ids).pooled)

    def embed_images(self, pixels: jax.Array) -> jax.Array:
        """float32 (n, projection_dim) of pixels (n, H, W, 3) as `CLIPVisionModel` takes them, not normalised."""
        return self.visual_projection(self.vision_model(pixels))


def clip_shapes(config: CLIPConfig) -> dict:
    """Parameter tree of `CLIPModel(config)` as `jax.ShapeDtypeStruct`."""
    size, channels = config.vision.image_size, config.vision.num_channels
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    pixels = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(CLIPModel(config).init, jax.random.key(0), ids, pixels)["params"]
