"""UNets of diffusers (`UNet2DConditionModel`)."""

import jax

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.models.unet import UNet, UNetConfig


def _shapes(config: UNetConfig) -> dict:
    size = 2 ** (config.levels - 1)
    inputs = float32_shape((1, size, size, config.in_channels)), float32_shape((1,)), config.context_shapes
    return jax.eval_shape(UNet(config).init, jax.random.key(0), *inputs)["params"]


UNET = Component(
    config_file=DiffusersConfig(
        class_name="UNet2DConditionModel",
        kind=UNetConfig,
        neutral={
            "time_cond_proj_dim": None,
            "class_embed_type": None,
            "num_class_embeds": None,
            "encoder_hid_dim_type": None,
            "encoder_hid_dim": None,
            "attention_type": "default",
            "class_embeddings_concat": False,
            "dual_cross_attention": False,
            "num_attention_heads": None,
            "resnet_time_scale_shift": "default",
            "reverse_transformer_layers_per_block": None,
            "time_embedding_act_fn": None,
            "time_embedding_dim": None,
            "time_embedding_type": "positional",
            "timestep_post_act": None,
        },
        inert={
            # Of a network in training, which a base is not.
            "dropout": 0.0,
            # Of an embedding that is refused by name.
            "addition_embed_type_num_heads": 64,
            # Of kinds of blocks that are refused by name: those with SimpleCrossAttn or Resnet in it.
            "cross_attention_norm": None,
            "mid_block_only_cross_attention": None,
            "resnet_out_scale_factor": 1.0,
            "resnet_skip_time_act": False,
        },
        telling={
            "time_cond_proj_dim": "a latent consistency model (LCM)",
            "class_embed_type": "Stable unCLIP",
            "num_class_embeds": "an upscaler",
            "encoder_hid_dim_type": "Kandinsky",
            "encoder_hid_dim": "Kandinsky",
            "attention_type": "GLIGEN",
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
