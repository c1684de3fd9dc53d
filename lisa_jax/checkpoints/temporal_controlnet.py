"""ControlNets of videos: ours, and the community's `ControlNetSDVModel`, whose config names its class."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.component import Component, float32_shape
from lisa_jax.checkpoints.config_files import DiffusersConfig
from lisa_jax.checkpoints.temporal_unet import TEMPORAL_UNET
from lisa_jax.models.temporal_controlnet import TemporalControlNet, TemporalControlNetConfig


def _shapes(config: TemporalControlNetConfig) -> dict:
    size = 2 ** (config.levels - 1)
    image = size * config.conditioning_downsampling
    inputs = (
        float32_shape((1, 1, size, size, config.out_channels)),
        float32_shape((1,)),
        config.context_shapes(size, size),
        float32_shape((1, 1, image, image, config.conditioning_channels)),
    )
    return jax.eval_shape(TemporalControlNet(config).init, jax.random.key(0), *inputs)["params"]


class _CommunityConfig(DiffusersConfig[TemporalControlNetConfig]):
    """Its residuals are added in every block, which its config does not say."""

    def parse(self, fields: Mapping) -> TemporalControlNetConfig:
        return dataclasses.replace(super().parse(fields), added_in_every_block=True)

    def fields(self, config: TemporalControlNetConfig, dtype: jnp.dtype | None = None) -> dict[str, Any]:
        written = super().fields(config, dtype)
        del written["added_in_every_block"]
        return written


# Fields of the UNet from whose config it was made.
_OF_THE_UNET = {"sample_size": None, "up_block_types": None}

TEMPORAL_CONTROLNET = Component(
    config_file=DiffusersConfig(class_name="LisaJaxTemporalControlNet", kind=TemporalControlNetConfig, neutral={}),
    shapes=_shapes,
    containers=(*TEMPORAL_UNET.containers, "blocks", "controlnet_down_blocks"),
)
COMMUNITY_TEMPORAL_CONTROLNET = dataclasses.replace(
    TEMPORAL_CONTROLNET,
    config_file=_CommunityConfig(
        class_name="ControlNetSDVModel",
        kind=TemporalControlNetConfig,
        neutral={"added_in_every_block": True},
        inert=_OF_THE_UNET,
    ),
)
# Class that a config names -> how such a network is read and written.
TEMPORAL_SIDE_NETWORKS: dict[str, Component] = {
    component.config_file.class_name: component for component in (TEMPORAL_CONTROLNET, COMMUNITY_TEMPORAL_CONTROLNET)
}
