"""UNets of videos of diffusers (`UNetSpatioTemporalConditionModel`)."""

import jax

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.models.temporal_unet import TemporalUNet, TemporalUNetConfig


def _shapes(config: TemporalUNetConfig) -> dict:
    size = 2 ** (config.levels - 1)
    inputs = float32_shape((1, 1, size, size, config.out_channels)), float32_shape((1,))
    return jax.eval_shape(TemporalUNet(config).init, jax.random.key(0), *inputs, config.context_shapes(size, size))[
        "params"
    ]


TEMPORAL_UNET = Component(
    config_file=DiffusersConfig(class_name="UNetSpatioTemporalConditionModel", kind=TemporalUNetConfig, neutral={}),
    shapes=_shapes,
    containers=(*UNET.containers, "temporal_transformer_blocks"),
)
