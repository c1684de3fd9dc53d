"""The side network of a UNet of videos: a copy of its encoder, or one that was trained before."""

import dataclasses
from collections.abc import Sequence

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from lisa_jax.checkpoints.side_network import stored_side_network
from lisa_jax.checkpoints.temporal_controlnet import TEMPORAL_CONTROLNET, TEMPORAL_SIDE_NETWORKS
from lisa_jax.checkpoints.temporal_unet import TEMPORAL_UNET
from lisa_jax.dual_branch import Params
from lisa_jax.families.side_networks import SideStart, check_condition, shared_layers
from lisa_jax.media.channels import RGB
from lisa_jax.models.temporal_controlnet import temporal_controlnet_config
from lisa_jax.models.temporal_unet import TemporalUNetConfig

# What residuals must have to be added, and a network to read the context.
_SHARED = ("in_channels", "out_channels", "block_out_channels", "layers_per_block", "cross_attention_dim", "time_ids")


def copied_temporal_side(
    checkpoint: Checkpoint | None,
    unet: TemporalUNetConfig,
    condition_channels: Sequence[int],
    conditioning_channels: int = RGB,
) -> SideStart:
    """A ControlNet that starts as a copy of the UNet's encoder.

    Args:
      checkpoint: has the UNet's weights as its component `unet`; None: everything is fresh.
      unet: its config.
      condition_channels: widths of the condition's encoder.
      conditioning_channels: channels of the condition.
    """
    config = temporal_controlnet_config(unet, tuple(condition_channels))
    config = dataclasses.replace(config, conditioning_channels=conditioning_channels)

    def read_start() -> Params:
        if checkpoint is None:
            return {}
        layers = shared_layers(TEMPORAL_UNET.key_table(unet), TEMPORAL_CONTROLNET.key_table(config))
        return TEMPORAL_UNET.read_params(checkpoint, "unet", layers, whole=False)

    return SideStart(config, read_start)


def continued_temporal_side(spec: str, unet: TemporalUNetConfig, conditioning_channels: int | None = None) -> SideStart:
    """A side network that was trained before, ours or a `ControlNetSDVModel`; its config is taken as it is.

    Args:
      spec: as `open_checkpoint` takes it.
      unet: the UNet that is to take its residuals.
      conditioning_channels: channels of the condition that it is to see; None: those that it was trained with.

    Raises:
      CheckpointError: a config that is not supported, or a network that does not fit the UNet or the condition.
    """
    checkpoint = open_checkpoint(spec)
    component = stored_side_network(checkpoint, TEMPORAL_SIDE_NETWORKS)
    config = component.config(checkpoint)
    for name in _SHARED:
        if getattr(config, name) != getattr(unet, name):
            raise CheckpointError(
                f"{spec} has {name} {getattr(config, name)}, but the UNet {getattr(unet, name)}: it belongs to "
                "another base."
            )
    check_condition(spec, config, conditioning_channels)
    return SideStart(config, lambda: component.read(checkpoint)[1])
