"""Text encoders of Stable Diffusion: transformers' `CLIPTextModel`.

Files carry the prefix `text_model.` (transformers before 5, every published Stable Diffusion) or not, and old ones the
buffer `position_ids`; all are read. Files are written with the prefix, which every transformers version loads.
"""

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.checkpoint import TRANSFORMERS_WEIGHTS
from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import TransformersConfig
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel

_MODEL_TYPE = {"model_type": "clip_text_model"}


def _shapes(config: CLIPTextConfig) -> dict:
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return jax.eval_shape(CLIPTextModel(config).init, jax.random.key(0), ids)["params"]


CLIP_TEXT = Component(
    config_file=TransformersConfig(
        title="text encoder config",
        kind=CLIPTextConfig,
        fixed=_MODEL_TYPE,
        written=_MODEL_TYPE | {"architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "initializer_range": 0.02},
    ),
    shapes=_shapes,
    containers=("layers",),
    stem=TRANSFORMERS_WEIGHTS,
    prefix="text_model.",
    # The projection is that of `CLIPTextModelWithProjection`, whose hidden states are the same.
    ignore=("position_ids", "text_projection.weight"),
)
