"""ControlNets of diffusers (`ControlNetModel`)."""

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig


def _shapes(config: ControlNetConfig) -> dict:
    size = 2 ** (config.levels - 1)
    image = size * config.conditioning_downsampling
    return jax.eval_shape(
        ControlNet(config).init,
        jax.random.key(0),
        jnp.zeros((1, size, size, config.in_channels)),
        jnp.zeros((1,)),
        jnp.zeros((1, 1, config.cross_attention_dim)),
        jnp.zeros((1, image, image, config.conditioning_channels)),
    )["params"]


CONTROLNET = Component(
    config_file=DiffusersConfig(
        class_name="ControlNetModel",
        kind=ControlNetConfig,
        neutral={
            "addition_embed_type": None,
            "addition_embed_type_num_heads": 64,
            "addition_time_embed_dim": None,
            "class_embed_type": None,
            "encoder_hid_dim": None,
            "encoder_hid_dim_type": None,
            "num_class_embeds": None,
            "projection_class_embeddings_input_dim": None,
            "resnet_time_scale_shift": "default",
        },
    ),
    shapes=_shapes,
    containers=(*UNET.containers, "blocks", "controlnet_down_blocks"),
)
