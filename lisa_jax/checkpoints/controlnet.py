"""ControlNets of diffusers (`ControlNetModel`)."""

import jax

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig


def _shapes(config: ControlNetConfig) -> dict:
    size = 2 ** (config.levels - 1)
    image = size * config.conditioning_downsampling
    inputs = (
        float32_shape((1, size, size, config.in_channels)),
        float32_shape((1,)),
        config.context_shapes,
        float32_shape((1, image, image, config.conditioning_channels)),
    )
    return jax.eval_shape(ControlNet(config).init, jax.random.key(0), *inputs)["params"]


CONTROLNET = Component(
    config_file=DiffusersConfig(
        class_name="ControlNetModel",
        kind=ControlNetConfig,
        neutral={
            "class_embed_type": None,
            "num_class_embeds": None,
            "encoder_hid_dim_type": None,
            "encoder_hid_dim": None,
            "resnet_time_scale_shift": "default",
        },
        # Of an embedding that is refused by name.
        inert={"addition_embed_type_num_heads": 64},
        telling=UNET.config_file.telling,
    ),
    shapes=_shapes,
    containers=(*UNET.containers, "blocks", "controlnet_down_blocks"),
)
