"""Transformers of Stable Diffusion 3 and 3.5 in diffusers' layout (`SD3Transformer2DModel`)."""

import jax

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.models.sd3_transformer import SD3Transformer, SD3TransformerConfig


def _shapes(config: SD3TransformerConfig) -> dict:
    tokens, pooled = (1, 1, config.joint_attention_dim), (1, config.pooled_projection_dim)
    inputs = (
        float32_shape((1, config.patch_size, config.patch_size, config.in_channels)),
        float32_shape((1,)),
        {"tokens": float32_shape(tokens), "pooled": float32_shape(pooled)},
    )
    return jax.eval_shape(SD3Transformer(config).init, jax.random.key(0), *inputs)["params"]


SD3_TRANSFORMER = Component(
    config_file=DiffusersConfig(class_name="SD3Transformer2DModel", kind=SD3TransformerConfig, neutral={}),
    shapes=_shapes,
    containers=("transformer_blocks", "to_out", "net"),
)
