"""Side networks of Stable Diffusion 3 and 3.5 in diffusers' layout (`SD3ControlNetModel`)."""

import jax

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.models.sd3_controlnet import SD3ControlNet, SD3ControlNetConfig


def _shapes(config: SD3ControlNetConfig) -> dict:
    size = config.patch_size
    inputs = (
        float32_shape((1, 1, 1, config.width)),
        float32_shape((1, size, size, config.in_channels)),
        float32_shape((1,)),
        # Without blocks that see text tokens, these are not read.
        {
            "tokens": float32_shape((1, 1, config.joint_attention_dim or 1)),
            "pooled": float32_shape((1, config.pooled_projection_dim)),
        },
        float32_shape((1, size, size, config.condition_channels)),
    )
    return jax.eval_shape(SD3ControlNet(config).init, jax.random.key(0), *inputs)["params"]


SD3_CONTROLNET = Component(
    config_file=DiffusersConfig(class_name="SD3ControlNetModel", kind=SD3ControlNetConfig, neutral={}),
    shapes=_shapes,
    containers=(*SD3_TRANSFORMER.containers, "controlnet_blocks"),
)
