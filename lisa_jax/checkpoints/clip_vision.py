"""Image encoders of transformers: `CLIPVisionModelWithProjection`."""

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import TransformersConfig
from lisa_jax.checkpoints.weight_files import TRANSFORMERS_WEIGHTS
from lisa_jax.models.clip_vision import CLIPVisionConfig, CLIPVisionModelWithProjection

_FIXED = {"model_type": "clip_vision_model", "num_channels": 3}


def _shapes(config: CLIPVisionConfig) -> dict:
    pixels = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, config.num_channels), jnp.float32)
    return jax.eval_shape(CLIPVisionModelWithProjection(config).init, jax.random.key(0), pixels)["params"]


CLIP_VISION_WITH_PROJECTION = Component(
    config_file=TransformersConfig(
        title="image encoder config",
        kind=CLIPVisionConfig,
        fixed=_FIXED,
        written={"model_type": "clip_vision_model", "architectures": ["CLIPVisionModelWithProjection"]}
        | {"attention_dropout": 0.0, "initializer_range": 0.02},
    ),
    shapes=_shapes,
    containers=("layers",),
    stem=TRANSFORMERS_WEIGHTS,
    ignore=("position_ids",),
)
