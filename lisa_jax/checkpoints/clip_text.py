"""Text encoders of Stable Diffusion: transformers' `CLIPTextModel`, and `CLIPTextModelWithProjection` from SDXL on.

Files carry the prefix `text_model.` (transformers before 5, every published Stable Diffusion) or not, and old ones the
buffer `position_ids`; all are read. Files are written with the prefix, which every transformers version loads. With a
projection the prefix tells the encoder from it, and is always there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import TransformersConfig
from lisa_jax.checkpoints.weight_files import TRANSFORMERS_WEIGHTS
from lisa_jax.models.clip_text import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

_MODEL_TYPE = {"model_type": "clip_text_model"}
_BUFFER = "position_ids"


def _config_file(class_name: str) -> TransformersConfig:
    return TransformersConfig(
        title="text encoder config",
        kind=CLIPTextConfig,
        fixed=_MODEL_TYPE,
        written=_MODEL_TYPE | {"architectures": [class_name], "attention_dropout": 0.0, "initializer_range": 0.02},
    )


def _shapes_of(model: type[CLIPTextModel | CLIPTextModelWithProjection]) -> Callable[[CLIPTextConfig], dict[str, Any]]:
    def shapes(config: CLIPTextConfig) -> dict[str, Any]:
        ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        return jax.eval_shape(model(config).init, jax.random.key(0), ids)["params"]

    return shapes


CLIP_TEXT = Component(
    config_file=_config_file("CLIPTextModel"),
    shapes=_shapes_of(CLIPTextModel),
    containers=("layers",),
    stem=TRANSFORMERS_WEIGHTS,
    prefix="text_model.",
    # The projection is that of `CLIPTextModelWithProjection`, whose hidden states are the same.
    ignore=(_BUFFER, "text_projection.weight"),
)
CLIP_TEXT_WITH_PROJECTION = Component(
    config_file=_config_file("CLIPTextModelWithProjection"),
    shapes=_shapes_of(CLIPTextModelWithProjection),
    containers=("layers",),
    stem=TRANSFORMERS_WEIGHTS,
    ignore=(_BUFFER,),
)
