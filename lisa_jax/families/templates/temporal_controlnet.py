# Copyright the authors of lisa_jax.
# Licensed under the Apache License, Version 2.0: http://www.apache.org/licenses/LICENSE-2.0
"""A temporal ControlNet beside Stable Video Diffusion, in PyTorch: what lisa_jax exports, in diffusers' own pipeline.

diffusers has no such network. This file needs nothing but diffusers (0.33 or later); put it where Python finds it:

    pipeline = StableVideoDiffusionPipeline.from_pretrained("stabilityai/stable-video-diffusion-img2vid")
    controlnet = LisaJaxTemporalControlNet.from_pretrained("path/to/this/folder")
    with controlled(pipeline.unet, controlnet, condition):
        frames = pipeline(image, height=512, width=512, num_frames=14).frames[0]

`condition` is a tensor (1, frames, channels, height, width) in [0, 1], on the pipeline's device and in its precision.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.unets.unet_3d_blocks import UNetMidBlockSpatioTemporal, get_down_block
from torch import nn

SPATIO_TEMPORAL = ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",)


class LisaJaxTemporalControlNet(ModelMixin, ConfigMixin):
    """A copy of the encoder of `UNetSpatioTemporalConditionModel` that sees a condition frame by frame.

    Arguments are the fields of config.json: those of that model and of diffusers' `ControlNetModel`, and whether what a
    level gives is `added_in_every_block` of the UNet from there on, and thus several times.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 8,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = SPATIO_TEMPORAL,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int | tuple[int, ...] = 2,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        num_frames: int = 25,
        conditioning_channels: int = 3,
        conditioning_embedding_out_channels: tuple[int, ...] = (16, 32, 96, 256),
        added_in_every_block: bool = False,
    ) -> None:
        super().__init__()
        channels, levels, width = block_out_channels, len(block_out_channels), 4 * block_out_channels[0]
        self.conv_in = nn.Conv2d(in_channels, channels[0], kernel_size=3, padding=1)
        self.time_proj = Timesteps(channels[0], True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(channels[0], width)
        self.add_time_proj = Timesteps(addition_time_embed_dim, True, downscale_freq_shift=0)
        self.add_embedding = TimestepEmbedding(projection_class_embeddings_input_dim, width)
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            channels[0], conditioning_channels, tuple(conditioning_embedding_out_channels)
        )
        self.down_blocks = nn.ModuleList(
            get_down_block(
                kind,
                num_layers=_of_level(layers_per_block, level),
                transformer_layers_per_block=_of_level(transformer_layers_per_block, level),
                in_channels=channels[max(level - 1, 0)],
                out_channels=channels[level],
                temb_channels=width,
                add_downsample=level < levels - 1,
                resnet_eps=1e-5,
                resnet_act_fn="silu",
                cross_attention_dim=_of_level(cross_attention_dim, level),
                num_attention_heads=_of_level(num_attention_heads, level),
            )
            for level, kind in enumerate(down_block_types)
        )
        self.mid_block = UNetMidBlockSpatioTemporal(
            channels[-1],
            temb_channels=width,
            transformer_layers_per_block=_of_level(transformer_layers_per_block, -1),
            cross_attention_dim=_of_level(cross_attention_dim, -1),
            num_attention_heads=_of_level(num_attention_heads, -1),
        )
        # The level that each residual but the first comes from.
        outputs = (_of_level(layers_per_block, level) + (level < levels - 1) for level in range(levels))
        origins = [level for level, count in enumerate(outputs) for _ in range(count)]
        widths = [channels[0], *(channels[level] for level in origins)]
        # How often the UNet adds each residual.
        self.counts = [levels, *(levels - level for level in origins)]
        self.controlnet_down_blocks = nn.ModuleList(nn.Conv2d(one, one, kernel_size=1) for one in widths)
        self.controlnet_mid_block = nn.Conv2d(channels[-1], channels[-1], kernel_size=1)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        added_time_ids: torch.Tensor,
        condition: torch.Tensor,
    ) -> list[torch.Tensor]:
        """What the UNet adds to its skips, finest first, and last to what leaves its mid block.

        Args:
          sample: (n, frames, in_channels, h, w), as the UNet takes it.
          timestep: one number, or (n,).
          encoder_hidden_states: (n, 1, cross_attention_dim).
          added_time_ids: (n, 3).
          condition: (n, frames, conditioning_channels, height, width) in [0, 1].

        Returns:
          Tensors (n frames, c, h, w).
        """
        n, frames = sample.shape[:2]
        timestep = torch.as_tensor(timestep, device=sample.device).expand(n)
        time_ids = self.add_time_proj(added_time_ids.flatten()).reshape(n, -1)
        emb = self.time_embedding(self.time_proj(timestep).to(sample.dtype))
        emb = (emb + self.add_embedding(time_ids.to(sample.dtype))).repeat_interleave(frames, dim=0)
        given = {
            "temb": emb,
            "encoder_hidden_states": encoder_hidden_states.repeat_interleave(frames, dim=0),
            "image_only_indicator": torch.zeros(n, frames, dtype=sample.dtype, device=sample.device),
        }
        without_context = {name: value for name, value in given.items() if name != "encoder_hidden_states"}
        hidden = self.conv_in(sample.flatten(0, 1)) + self.controlnet_cond_embedding(condition.flatten(0, 1))
        skips = (hidden,)
        for block in self.down_blocks:
            has_attention = getattr(block, "has_cross_attention", False)
            hidden, outputs = block(hidden, **(given if has_attention else without_context))
            skips += outputs
        residuals = [conv(skip) for conv, skip in zip(self.controlnet_down_blocks, skips, strict=True)]
        if self.config.added_in_every_block:
            residuals = [count * residual for count, residual in zip(self.counts, residuals, strict=True)]
        return [*residuals, self.controlnet_mid_block(self.mid_block(hidden, **given))]


def _of_level(value: Any, level: int) -> Any:
    """A value that is one for all levels, or one for each."""
    return value[level] if isinstance(value, (list, tuple)) else value


@contextlib.contextmanager
def controlled(
    unet: nn.Module, controlnet: LisaJaxTemporalControlNet, condition: torch.Tensor, scale: float = 1.0
) -> Iterator[None]:
    """Let a `UNetSpatioTemporalConditionModel` add what a network makes of a condition, as long as this lasts.

    Args:
      unet: of the pipeline.
      controlnet: the network.
      condition: (n, frames, conditioning_channels, height, width) in [0, 1]; what is guided and what it is guided
        away from both see it.
      scale: factor on all that is added.
    """
    left: list[torch.Tensor] = []

    def before_unet(module: nn.Module, args: tuple, kwargs: dict) -> None:
        names = ("sample", "timestep", "encoder_hidden_states", "added_time_ids")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        frames = condition.repeat(len(given["sample"]) // len(condition), 1, 1, 1, 1)
        left[:] = [scale * one for one in controlnet(*(given[name] for name in names), frames)]

    def after_mid_block(module: nn.Module, args: tuple, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + left.pop()

    def before_up_block(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        skips = kwargs["res_hidden_states_tuple"]
        added = [left.pop() for _ in skips][::-1]
        return args, {**kwargs, "res_hidden_states_tuple": tuple(map(torch.add, skips, added))}

    hooks = [
        unet.register_forward_pre_hook(before_unet, with_kwargs=True),
        unet.mid_block.register_forward_hook(after_mid_block),
        *(block.register_forward_pre_hook(before_up_block, with_kwargs=True) for block in unet.up_blocks),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
