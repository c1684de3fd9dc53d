"""UNets of diffusers (`UNet2DConditionModel`)."""

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.component import Component
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.models.unet import UNet, UNetConfig


def _shapes(config: UNetConfig) -> dict:
    size = 2 ** (config.levels - 1)
    return jax.eval_shape(
        UNet(config).init,
        jax.random.key(0),
        jnp.zeros((1, size, size, config.in_channels)),
        jnp.zeros((1,)),
        jnp.zeros((1, 1, config.cross_attention_dim)),
    )["params"]


UNET = Component(
    config_file=DiffusersConfig(
        class_name="UNet2DConditionModel",
        kind=UNetConfig,
        neutral={
            "addition_embed_type": None,
            "addition_embed_type_num_heads": 64,
            "addition_time_embed_dim": None,
            "attention_type": "default",
            "class_embed_type": None,
            "class_embeddings_concat": False,
            "cross_attention_norm": None,
            "dropout": 0.0,
            "dual_cross_attention": False,
            "encoder_hid_dim": None,
            "encoder_hid_dim_type": None,
            "mid_block_only_cross_attention": None,
            "num_attention_heads": None,
            "num_class_embeds": None,
            "projection_class_embeddings_input_dim": None,
            "resnet_out_scale_factor": 1.0,
            "resnet_skip_time_act": False,
            "resnet_time_scale_shift": "default",
            "reverse_transformer_layers_per_block": None,
            "time_cond_proj_dim": None,
            "time_embedding_act_fn": None,
            "time_embedding_dim": None,
            "time_embedding_type": "positional",
            "timestep_post_act": None,
        },
    ),
    shapes=_shapes,
    containers=(
        "down_blocks",
        "up_blocks",
        "resnets",
        "attentions",
        "transformer_blocks",
        "downsamplers",
        "upsamplers",
        "to_out",
        "net",
    ),
)
