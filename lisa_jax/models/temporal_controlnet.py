"""A ControlNet beside a UNet of videos: a copy of its encoder, with the condition's frames; arrays are (n, f, h, w, c).

diffusers has no such network. It is built as its `ControlNetModel`, of the blocks of Stable Video Diffusion (arXiv
2311.15127): the added-time embedding is copied with the rest, the condition is embedded frame by frame and added after
conv_in, and every residual is added once, after the encoder.
"""

import dataclasses
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.by_picture import by_picture
from lisa_jax.models.config_fields import Range, Width
from lisa_jax.models.controlnet import ConditioningEmbedding, feature_names, residual_channels
from lisa_jax.models.embeddings import TimestepEmbedding
from lisa_jax.models.encoder import Channels
from lisa_jax.models.layers import Conv
from lisa_jax.models.temporal_blocks import DOWNSAMPLE_PADDING
from lisa_jax.models.temporal_encoder import (
    TemporalEncoderConfig,
    VideoContext,
    beside_first_frame,
    id_sinusoids,
    temporal_down_blocks,
    temporal_mid_block,
    time_sinusoids,
    tokens_of_video,
)
from lisa_jax.models.temporal_unet import TemporalUNetConfig, of_frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemporalControlNetConfig(TemporalEncoderConfig):
    """Config of a ControlNet of videos; n conditioning_embedding_out_channels downsample a condition by 2^(n-1).

    With `added_in_every_block` residuals are added after every down block to all skips that are there by then, as a
    network in circulation and its UNet do: with four levels those of conv_in and of the finest four times, of the next
    three times, and so on, that of the mid block once.
    """

    conditioning_channels: Channels = 3
    conditioning_embedding_out_channels: Annotated[tuple[Width, ...], Range(1, 8)] = (16, 32, 96, 256)
    added_in_every_block: bool = False

    @property
    def conditioning_downsampling(self) -> int:
        """Factor between the condition's frames and the latents."""
        return 2 ** (len(self.conditioning_embedding_out_channels) - 1)

    @property
    def downsample_padding(self) -> int:
        """Of the downsamplers, see `feature_shapes`."""
        return DOWNSAMPLE_PADDING

    @property
    def unet_levels(self) -> tuple[tuple[int, ...], int]:
        """Channels of every level, and layers a level, of the UNet that takes the residuals."""
        return self.block_out_channels, self.layers_per_block

    @property
    def has_mid_block(self) -> bool:
        """There always is one, see `feature_shapes`."""
        return True

    @property
    def multiplicities(self) -> tuple[int, ...]:
        """How often each residual counts."""
        if not self.added_in_every_block:
            return (1,) * len(residual_channels(self))
        counts = [self.levels]
        for level in range(self.levels):
            last = level == self.levels - 1
            counts += [self.levels - level] * (self.layers_per_block + (not last))
        return (*counts, 1)


class TemporalControlNet(nn.Module):
    """Side network: a copy of the encoder of a UNet of videos, whose features leave through zero convolutions.

    Attributes as of `ControlNet`.
    """

    config: TemporalControlNetConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"
    condition_birth: float = 0.0
    zero_birth: float = 0.0
    encoder_birth: float = 1.0

    def setup(self) -> None:
        config, settings = self.config, (self.dtype, self.remat, self.attention)
        self.conv_in = Conv(config.block_out_channels[0], dtype=self.dtype)
        self.time_embedding = TimestepEmbedding(config.time_embedding_dim)
        self.add_embedding = TimestepEmbedding(config.time_embedding_dim)
        self.controlnet_cond_embedding = ConditioningEmbedding(
            config.block_out_channels[0],
            config.conditioning_embedding_out_channels,
            self.dtype,
            self.condition_birth,
            self.encoder_birth,
        )
        self.down_blocks = temporal_down_blocks(config, *settings)
        self.mid_block = temporal_mid_block(config, *settings)
        *down, mid = residual_channels(config).values()
        self.controlnet_down_blocks = [self._zero_conv(channels) for channels in down]
        self.controlnet_mid_block = self._zero_conv(mid)

    def _zero_conv(self, channels: int) -> Conv:
        return Conv(channels, kernel_size=1, padding=0, birth=self.zero_birth, dtype=self.dtype)

    def __call__(
        self, x_t: jax.Array, t: jax.Array, context: VideoContext, condition: jax.Array
    ) -> tuple[tuple[jax.Array, ...], dict[str, jax.Array]]:
        """Encode noisy latents together with the condition.

        Args:
          x_t: (n, f, h, w, out_channels) noisy latents as the network sees them.
          t: (n,) network time.
          context: see `temporal_encoder`.
          condition: (n, f, H, W, conditioning_channels) in [0, 1]; H and W come down to h and w.

        Returns:
          The residuals to add to the UNet's skips, the last one to its hidden state, and the features by name,
          `down_0`, ..., `mid`: each before its zero convolution, (n, f, h, w, c).
        Raises:
          ValueError: a condition of other frames than the latents, or that does not come down to their size.
        """
        config, frames = self.config, x_t.shape[1]
        if condition.shape[1] != frames:
            raise ValueError(f"a condition of {condition.shape[1]} frames does not fit latents of {frames}.")
        embedded = by_picture(self.controlnet_cond_embedding, condition)
        if embedded.shape[2:4] != x_t.shape[2:4]:
            raise ValueError(
                f"a condition of {condition.shape[2:4]} comes down to {embedded.shape[2:4]}, but the latents are "
                f"{x_t.shape[2:4]}: it must be {config.conditioning_downsampling} times their size."
            )
        emb = self.time_embedding(time_sinusoids(config, t)) + self.add_embedding(id_sinusoids(config, context))
        emb, tokens = of_frames(emb, frames), tokens_of_video(config, context)
        hidden = by_picture(self.conv_in, beside_first_frame(x_t, context)) + embedded
        skips = (hidden,)
        for block in self.down_blocks:
            hidden, outputs = block(hidden, emb, tokens)
            skips += outputs
        features = dict(zip(feature_names(config), (*skips, self.mid_block(hidden, emb, tokens)), strict=True))
        convolutions = (*self.controlnet_down_blocks, self.controlnet_mid_block)
        residuals = (
            count * by_picture(convolution, feature)
            for count, convolution, feature in zip(config.multiplicities, convolutions, features.values(), strict=True)
        )
        return tuple(residuals), features


def temporal_controlnet_config(
    unet: TemporalUNetConfig, conditioning_embedding_out_channels: tuple[int, ...] = (16, 32, 96, 256)
) -> TemporalControlNetConfig:
    """Config of the ControlNet that fits a UNet of videos."""
    shared = {field.name: getattr(unet, field.name) for field in dataclasses.fields(TemporalEncoderConfig)}
    return TemporalControlNetConfig(
        **shared, conditioning_embedding_out_channels=tuple(conditioning_embedding_out_channels)
    )
