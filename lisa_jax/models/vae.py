"""The variational autoencoder of latent diffusion models (diffusers' `AutoencoderKL`), NHWC.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752. Parameter names are
diffusers' own (`encoder/down_blocks_0/resnets_0/conv1/kernel`).
"""

import dataclasses
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.attention import attend
from lisa_jax.models.blocks import BlockSettings, DownBlock
from lisa_jax.models.config_fields import Range, Width, check_fields, check_layers, shown
from lisa_jax.models.layers import Conv, Linear
from lisa_jax.models.norms import group_norm
from lisa_jax.models.resnet import Upsample2D

Channels = Annotated[int, Range(1, 1024)]

NORM_EPS = 1e-6
DOWN_BLOCK, UP_BLOCK = "DownEncoderBlock2D", "UpDecoderBlock2D"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderKLConfig:
    """Config by diffusers' field names and with its defaults.

    Latents in model space are `(z - shift_factor) * scaling_factor`. `sample_size` and `force_upcast` change nothing
    here: norms and softmax are computed in float32 whatever the compute dtype; they are kept for the round trip.

    Raises:
      ValueError: a field whose value is not supported, by name.
    """

    in_channels: Channels = 3
    out_channels: Channels = 3
    down_block_types: tuple[str, ...] = (DOWN_BLOCK,)
    up_block_types: tuple[str, ...] = (UP_BLOCK,)
    block_out_channels: Annotated[tuple[Width, ...], Range(1, 10)] = (64,)
    layers_per_block: Annotated[int, Range(1, 32)] = 1
    act_fn: str = "silu"
    latent_channels: Channels = 4
    norm_num_groups: Width = 32
    sample_size: Width | tuple[Width, Width] = 32
    scaling_factor: Annotated[float, Range(1e-6, 1e6)] = 0.18215
    shift_factor: Annotated[float, Range(-1e6, 1e6)] | None = None
    force_upcast: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True

    @property
    def downsampling(self) -> int:
        """Factor between an image and its latents."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def layers(self) -> int:
        """Resnets of encoder and decoder."""
        return len(self.block_out_channels) * (2 * self.layers_per_block + 1) + 4

    def __post_init__(self) -> None:
        check_fields(self)
        check_layers(self.layers)
        levels = len(self.block_out_channels)
        for name, kind in (("down_block_types", DOWN_BLOCK), ("up_block_types", UP_BLOCK)):
            if getattr(self, name) != (kind,) * levels:
                raise ValueError(
                    f"{name} {shown(getattr(self, name))} is not supported: only {kind!r}, once for each of the "
                    f"{levels} block_out_channels."
                )
        if self.act_fn not in ("silu", "swish"):
            raise ValueError(f"act_fn {shown(self.act_fn)} is not supported: only 'silu'.")
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"block_out_channels {channels} is no multiple of norm_num_groups {self.norm_num_groups}."
                )

    def block_settings(self, dtype: jnp.dtype) -> BlockSettings:
        """What all blocks share."""
        return BlockSettings(norm_groups=self.norm_num_groups, norm_eps=NORM_EPS, dtype=dtype)


class SpatialAttention(nn.Module):
    """Self-attention of one head over the pixels, added to the input (diffusers' `Attention` in `UNetMidBlock2D`)."""

    settings: BlockSettings

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, h, w, c). Returns (n, h, w, c)."""
        n, h, w, channels = x.shape
        dtype = self.settings.dtype
        hidden = group_norm(self.settings.norm_groups, self.settings.norm_eps, dtype, "group_norm")(x)
        query, key, value = (
            Linear(channels, dtype=dtype, name=name)(hidden).reshape(n, h * w, 1, channels)
            for name in ("to_q", "to_k", "to_v")
        )
        mixed = attend(query, key, value).reshape(x.shape)
        return x + Linear(channels, dtype=dtype, name="to_out_0")(mixed)


class MidBlock(nn.Module):
    """Resnet, attention, resnet at the coarsest resolution (diffusers' `UNetMidBlock2D`)."""

    settings: BlockSettings
    add_attention: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, h, w, c). Returns (n, h, w, c)."""
        x = self.settings.resnet(x.shape[-1], "resnets_0")(x, None)
        if self.add_attention:
            x = SpatialAttention(self.settings, name="attentions_0")(x)
        return self.settings.resnet(x.shape[-1], "resnets_1")(x, None)


class UpDecoderBlock(nn.Module):
    """Resnets, then, unless it is the last block, twice the resolution (diffusers' `UpDecoderBlock2D`)."""

    channels: int
    layers: int
    settings: BlockSettings
    upsample: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (n, h, w, c). Returns (n, 2h, 2w, channels), or (n, h, w, channels) from the last block."""
        for i in range(self.layers):
            x = self.settings.resnet(self.channels, f"resnets_{i}")(x, None)
        if not self.upsample:
            return x
        return Upsample2D(self.settings.dtype, name="upsamplers_0")(x, (2 * x.shape[1], 2 * x.shape[2]))


class Encoder(nn.Module):
    """Images to the moments before `quant_conv`."""

    config: AutoencoderKLConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config, settings = self.config, self.config.block_settings(self.dtype)
        x = Conv(config.block_out_channels[0], dtype=self.dtype, name="conv_in")(x)
        last = len(config.block_out_channels) - 1
        for i, channels in enumerate(config.block_out_channels):
            padding = 0 if i < last else None
            block = DownBlock(channels, config.layers_per_block, settings, padding, name=f"down_blocks_{i}")
            x, _ = block(x, None, None)
        x = MidBlock(settings, config.mid_block_add_attention, name="mid_block")(x)
        x = group_norm(config.norm_num_groups, NORM_EPS, self.dtype, "conv_norm_out", silu=True)(x)
        return Conv(2 * config.latent_channels, dtype=self.dtype, name="conv_out")(x)


class Decoder(nn.Module):
    """Latents after `post_quant_conv` to images."""

    config: AutoencoderKLConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config, settings = self.config, self.config.block_settings(self.dtype)
        x = Conv(config.block_out_channels[-1], dtype=self.dtype, name="conv_in")(x)
        x = MidBlock(settings, config.mid_block_add_attention, name="mid_block")(x)
        last = len(config.block_out_channels) - 1
        for i, channels in enumerate(reversed(config.block_out_channels)):
            x = UpDecoderBlock(channels, config.layers_per_block + 1, settings, i < last, name=f"up_blocks_{i}")(x)
        x = group_norm(config.norm_num_groups, NORM_EPS, self.dtype, "conv_norm_out", silu=True)(x)
        return Conv(config.out_channels, dtype=self.dtype, name="conv_out")(x)


def check_sides(images: jax.Array, factor: int) -> None:
    """Raise ValueError where a factor does not divide height and width of images (n, H, W, c)."""
    if images.shape[1] % factor or images.shape[2] % factor:
        raise ValueError(
            f"images are {images.shape[1]} x {images.shape[2]}, but this autoencoder needs multiples of {factor}."
        )


class AutoencoderKL(nn.Module):
    """Encoder and decoder; each can be applied alone, to a tree that holds its part only.

    `dtype` is the compute dtype; norm statistics and softmax are in float32. It does not change the parameters.
    """

    config: AutoencoderKLConfig
    dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        config = self.config
        self.encoder = Encoder(config, self.dtype)
        self.decoder = Decoder(config, self.dtype)
        if config.use_quant_conv:
            self.quant_conv = Conv(2 * config.latent_channels, kernel_size=1, padding=0, dtype=self.dtype)
        if config.use_post_quant_conv:
            self.post_quant_conv = Conv(config.latent_channels, kernel_size=1, padding=0, dtype=self.dtype)

    def encode(self, images: jax.Array) -> jax.Array:
        """Mean and log-variance of the posterior.

        Args:
          images: (n, H, W, in_channels) in [-1, 1], H and W multiples of `config.downsampling`.

        Returns:
          (n, h, w, 2 * latent_channels) in the compute dtype, mean first.
        Raises:
          ValueError: a height or width that the factor does not divide.
        """
        check_sides(images, self.config.downsampling)
        moments = self.encoder(images)
        return self.quant_conv(moments) if self.config.use_quant_conv else moments

    def decode(self, z: jax.Array) -> jax.Array:
        """Images of unscaled latents.

        Args:
          z: (n, h, w, latent_channels), as drawn from the posterior: not scaled, not shifted.

        Returns:
          (n, H, W, out_channels) in the compute dtype, about [-1, 1], not clipped.
        """
        return self.decoder(self.post_quant_conv(z) if self.config.use_post_quant_conv else z)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Reconstruct images from the mean of their posterior; makes all parameters."""
        return self.decode(self.encode(images)[..., : self.config.latent_channels])
