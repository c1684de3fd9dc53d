"""Text encoders of the T5 1.1 kind: transformers' `T5EncoderModel`, the third of Stable Diffusion 3.

Files hold the table of tokens as `shared.weight`, some also under its other name; it is read and written once.
"""

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import TransformersConfig
from lisa_jax.checkpoints.weight_files import TRANSFORMERS_WEIGHTS
from lisa_jax.models.t5_encoder import T5Config, T5EncoderModel

_MODEL_TYPE = {"model_type": "t5"}


def _shapes(config: T5Config) -> dict:
    ids = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    return jax.eval_shape(T5EncoderModel(config).init, jax.random.key(0), ids)["params"]


T5_ENCODER = Component(
    config_file=TransformersConfig(
        title="T5 config",
        kind=T5Config,
        fixed=_MODEL_TYPE,
        # As those of T5 1.1 say it; an encoder has nothing that could be tied.
        written=_MODEL_TYPE | {"architectures": ["T5EncoderModel"], "tie_word_embeddings": False, "dropout_rate": 0.1},
    ),
    shapes=_shapes,
    containers=("block", "layer"),
    stem=TRANSFORMERS_WEIGHTS,
    ignore=("encoder.embed_tokens.weight",),
)
