"""Side networks that are smaller than a ControlNet: fewer channels, levels or layers than the UNet's encoder."""

import dataclasses
import math
from typing import Annotated

from lisa_jax.models.config_fields import Range, Width
from lisa_jax.models.controlnet import ControlNetConfig
from lisa_jax.models.encoder import Layers, per_level


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmallControlNetConfig(ControlNetConfig):
    """Config of a side network with fewer channels, levels or layers than the UNet that takes its residuals.

    It has the finest levels of the UNet, at the same resolutions, and the mid block if it has all of them. Layer j of
    n in a level stands in for layer j of n spread evenly over the UNet's, the last for the last. Its zero
    convolutions project to the UNet's channels. `ControlNetModel` of diffusers has no such networks.
    """

    unet_block_out_channels: Annotated[tuple[Width, ...], Range(1, 10)]
    unet_layers_per_block: Layers

    @property
    def unet_levels(self) -> tuple[tuple[int, ...], int]:
        """Channels of every level, and layers a level, of the UNet that takes the residuals."""
        return self.unet_block_out_channels, self.unet_layers_per_block

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels > len(self.unet_block_out_channels):
            raise ValueError(
                f"block_out_channels {self.block_out_channels} has {self.levels} levels, but the UNet only "
                f"{len(self.unet_block_out_channels)}."
            )
        for level, (width, most) in enumerate(zip(self.block_out_channels, self.unet_block_out_channels, strict=False)):
            if width > most:
                raise ValueError(
                    f"block_out_channels {self.block_out_channels} has {width} channels at level {level}, but the UNet "
                    f"only {most}."
                )
        if not 1 <= self.layers_per_block <= self.unet_layers_per_block:
            raise ValueError(
                f"layers_per_block {self.layers_per_block} is not supported: 1 to {self.unet_layers_per_block}, the "
                "UNet's own number."
            )


def small_controlnet_config(
    config: ControlNetConfig,
    block_out_channels: tuple[int, ...] | None = None,
    layers_per_block: int | None = None,
) -> SmallControlNetConfig:
    """Config of a side network that is smaller than the full one.

    Norms keep as many groups as divide the new channels, attention as many heads as divide those of its level.

    Args:
      config: the full ControlNet of the UNet.
      block_out_channels: channels of the levels, finest first; fewer than the UNet's leave out the coarsest. None: the
        UNet's.
      layers_per_block: None: the UNet's.

    Raises:
      ValueError: more levels, channels or layers than the UNet has.
    """
    widths = config.block_out_channels if block_out_channels is None else tuple(block_out_channels)
    levels, unet_levels = len(widths), config.levels
    if levels > unet_levels:
        raise ValueError(f"block_out_channels {widths} has {levels} levels, but the UNet only {unet_levels}.")
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name in ("down_block_types", "only_cross_attention", "transformer_layers_per_block"):
        shared[name] = per_level(shared[name], unet_levels)[:levels]
    shared["attention_head_dim"] = tuple(
        max(count for count in range(1, heads + 1) if width % count == 0)
        for heads, width in zip(config.heads, widths, strict=False)
    )
    return SmallControlNetConfig(
        **shared
        | {
            "block_out_channels": widths,
            "layers_per_block": config.layers_per_block if layers_per_block is None else layers_per_block,
            "norm_num_groups": math.gcd(config.norm_num_groups, *widths),
            "num_attention_heads": None,
        },
        unet_block_out_channels=config.block_out_channels,
        unet_layers_per_block=config.layers_per_block,
    )
