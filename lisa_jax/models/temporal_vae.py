"""The autoencoder of Stable Video Diffusion (diffusers' `AutoencoderKLTemporalDecoder`), channels last.

Blattmann et al., "Stable Video Diffusion", arXiv 2311.15127. The encoder is that of `AutoencoderKL` and sees one frame
at a time; the decoder's resnets also look along time, so that a frame's picture depends on the frames beside it.
"""

import dataclasses
from functools import cached_property
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.by_picture import by_picture
from lisa_jax.models.config_fields import Range, Width, check_fields
from lisa_jax.models.layers import Conv
from lisa_jax.models.norms import group_norm
from lisa_jax.models.resnet import Upsample2D
from lisa_jax.models.temporal import SpatioTemporalResBlock, TemporalConv, frames_as_rows, rows_as_frames
from lisa_jax.models.vae import (
    DOWN_BLOCK,
    NORM_EPS,
    UP_BLOCK,
    AutoencoderKLConfig,
    Channels,
    Encoder,
    SpatialAttention,
    check_sides,
)

NORM_GROUPS, TEMPORAL_EPS = 32, 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderKLTemporalDecoderConfig:
    """Config by diffusers' field names and with its defaults, but for the layers of a block.

    Of `layers_per_block` only 2 is supported: diffusers' middle block leaves attention or resnets out with others.

    Raises:
      ValueError: a field whose value is not supported, by name.
    """

    in_channels: Channels = 3
    out_channels: Channels = 3
    down_block_types: tuple[str, ...] = (DOWN_BLOCK,)
    block_out_channels: Annotated[tuple[Width, ...], Range(1, 10)] = (64,)
    layers_per_block: Annotated[int, Range(2, 2)] = 2
    latent_channels: Channels = 4
    sample_size: Width | tuple[Width, Width] = 32
    scaling_factor: Annotated[float, Range(1e-6, 1e6)] = 0.18215
    force_upcast: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        _ = self.of_frames

    @cached_property
    def of_frames(self) -> AutoencoderKLConfig:
        """The autoencoder of single pictures whose encoder this one has."""
        return AutoencoderKLConfig(
            **dataclasses.asdict(self),
            up_block_types=(UP_BLOCK,) * len(self.block_out_channels),
            norm_num_groups=NORM_GROUPS,
            use_post_quant_conv=False,
        )

    @property
    def downsampling(self) -> int:
        """Factor between height and width of a frame and of its latents."""
        return self.of_frames.downsampling

    @property
    def layers(self) -> int:
        """Resnets of encoder and decoder."""
        return self.of_frames.layers


def _resnet(channels: int, dtype: jnp.dtype, name: str) -> SpatioTemporalResBlock:
    return SpatioTemporalResBlock(
        channels, NORM_GROUPS, NORM_EPS, TEMPORAL_EPS, mix_factor=0.0, switched=True, dtype=dtype, name=name
    )


class MidBlockTemporalDecoder(nn.Module):
    """Resnet, attention within each frame, resnet (diffusers' class of this name with 2 layers)."""

    config: AutoencoderKLTemporalDecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, f, h, w, c). Returns (n, f, h, w, c)."""
        x = _resnet(x.shape[-1], self.dtype, "resnets_0")(x, None)
        attention = SpatialAttention(self.config.of_frames.block_settings(self.dtype), name="attentions_0")
        x = by_picture(attention, x)
        return _resnet(x.shape[-1], self.dtype, "resnets_1")(x, None)


class UpBlockTemporalDecoder(nn.Module):
    """Resnets, then, unless it is the last block, twice the resolution (diffusers' class of this name)."""

    channels: int
    layers: int
    upsample: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, f, h, w, c). Returns (n, f, 2h, 2w, channels), or (n, f, h, w, channels) from the last block."""
        for i in range(self.layers):
            x = _resnet(self.channels, self.dtype, f"resnets_{i}")(x, None)
        if not self.upsample:
            return x
        upsample, size = Upsample2D(self.dtype, name="upsamplers_0"), (2 * x.shape[2], 2 * x.shape[3])
        return by_picture(lambda frames: upsample(frames, size), x)


class TemporalDecoder(nn.Module):
    """Latents of videos to their frames (diffusers' class of this name)."""

    config: AutoencoderKLTemporalDecoderConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """z: (n, f, h, w, latent_channels). Returns (n, f, H, W, out_channels)."""
        config, widths = self.config, self.config.block_out_channels
        x = by_picture(Conv(widths[-1], dtype=self.dtype, name="conv_in"), z)
        x = MidBlockTemporalDecoder(config, self.dtype, name="mid_block")(x)
        for i, channels in enumerate(reversed(widths)):
            last = i == len(widths) - 1
            layers = config.layers_per_block + 1
            x = UpBlockTemporalDecoder(channels, layers, not last, self.dtype, name=f"up_blocks_{i}")(x)
        norm = group_norm(NORM_GROUPS, NORM_EPS, self.dtype, "conv_norm_out", silu=True)
        conv = Conv(config.out_channels, dtype=self.dtype, name="conv_out")
        x = by_picture(lambda frames: conv(norm(frames)), x)
        return TemporalConv(config.out_channels, self.dtype, name="time_conv_out")(x)


class AutoencoderKLTemporalDecoder(nn.Module):
    """Encoder and decoder; each can be applied alone, to a tree that holds its part only.

    `dtype` is the compute dtype; norm statistics and softmax are in float32. It does not change the parameters.
    """

    config: AutoencoderKLTemporalDecoderConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        config = self.config
        self.encoder = Encoder(config.of_frames, self.dtype)
        self.decoder = TemporalDecoder(config, self.dtype)
        self.quant_conv = Conv(2 * config.latent_channels, kernel_size=1, padding=0, dtype=self.dtype)

    def encode(self, frames: jax.Array) -> jax.Array:
        """Mean and log-variance of each frame's posterior.

        Args:
          frames: (n, H, W, in_channels) in [-1, 1], H and W multiples of `config.downsampling`.

        Returns:
          (n, h, w, 2 * latent_channels) in the compute dtype, mean first.
        Raises:
          ValueError: a height or width that the factor does not divide.
        """
        check_sides(frames, self.config.downsampling)
        return self.quant_conv(self.encoder(frames))

    def decode(self, z: jax.Array) -> jax.Array:
        """Videos of unscaled latents, all frames at once: decoding a part of the frames gives others.

        Args:
          z: (n, f, h, w, latent_channels), as drawn from the posterior: not scaled.

        Returns:
          (n, f, H, W, out_channels) in the compute dtype, about [-1, 1], not clipped.
        """
        return self.decoder(z)

    def __call__(self, video: jax.Array) -> jax.Array:
        """Reconstruct videos (n, f, H, W, in_channels) from the mean of their posterior; makes all parameters."""
        mean = self.encode(frames_as_rows(video))[..., : self.config.latent_channels]
        return self.decode(rows_as_frames(mean, video.shape[1]))
