"""One level of a UNet of pictures or of videos: down, mid and up blocks, with or without attention.

Arrays are (*n, h, w, c): pictures (n, h, w, c), videos (n, f, h, w, c). The settings say of which their layers are.
"""

import dataclasses
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.attention import Transformer2D
from lisa_jax.models.by_picture import by_picture
from lisa_jax.models.remat import rematerialised
from lisa_jax.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D


class LevelSettings(Protocol):
    """How the layers of one level are made.

    Attributes:
      heads: of attention; None: the level has no transformers.
      dtype: of computation.
    """

    heads: int | None
    dtype: jnp.dtype

    def resnet(self, channels: int, name: str) -> nn.Module:
        """(x, time embedding) -> x of so many channels."""

    def transformer(self, name: str) -> nn.Module:
        """(x, context) -> x."""


@dataclasses.dataclass(frozen=True)
class BlockSettings:
    """Those of pictures: what all blocks of a network share, and how the transformers of one level look."""

    norm_groups: int
    norm_eps: float
    heads: int | None = None
    transformer_layers: int = 1
    linear_projection: bool = False
    only_cross_attention: bool = False
    output_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"

    def resnet(self, channels: int, name: str) -> ResnetBlock2D:
        block = rematerialised(ResnetBlock2D, self.remat)
        return block(channels, self.norm_groups, self.norm_eps, self.output_scale, self.dtype, name=name)

    def transformer(self, name: str) -> Transformer2D:
        return Transformer2D(
            heads=self.heads,
            layers=self.transformer_layers,
            norm_groups=self.norm_groups,
            linear_projection=self.linear_projection,
            only_cross_attention=self.only_cross_attention,
            dtype=self.dtype,
            remat=self.remat,
            attention=self.attention,
            name=name,
        )


class DownBlock(nn.Module):
    """diffusers' `DownBlock2D` and `CrossAttnDownBlock2D`, of videos `[CrossAttn]DownBlockSpatioTemporal`.

    `downsample_padding=None` keeps the resolution.
    """

    channels: int
    layers: int
    settings: LevelSettings
    downsample_padding: int | None

    @nn.compact
    def __call__(self, x: jax.Array, emb: jax.Array, context: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """x: (*n, h, w, c). Returns the new hidden state and the skips, one a layer and one for the downsampler."""
        skips = ()
        for i in range(self.layers):
            x = self.settings.resnet(self.channels, f"resnets_{i}")(x, emb)
            if self.settings.heads is not None:
                x = self.settings.transformer(f"attentions_{i}")(x, context)
            skips += (x,)
        if self.downsample_padding is not None:
            x = by_picture(Downsample2D(self.downsample_padding, self.settings.dtype, name="downsamplers_0"), x)
            skips += (x,)
        return x, skips


class MidBlock(nn.Module):
    """diffusers' `UNetMidBlock2DCrossAttn`, of videos `UNetMidBlockSpatioTemporal`.

    Without heads it is `UNetMidBlock2D` as the UNet makes it: a single resnet.
    """

    settings: LevelSettings

    @nn.compact
    def __call__(self, x: jax.Array, emb: jax.Array, context: jax.Array) -> jax.Array:
        """x: (*n, h, w, c). Returns (*n, h, w, c)."""
        x = self.settings.resnet(x.shape[-1], "resnets_0")(x, emb)
        if self.settings.heads is None:
            return x
        x = self.settings.transformer("attentions_0")(x, context)
        return self.settings.resnet(x.shape[-1], "resnets_1")(x, emb)


class UpBlock(nn.Module):
    """diffusers' `UpBlock2D` and `CrossAttnUpBlock2D`, of videos `[CrossAttn]UpBlockSpatioTemporal`."""

    channels: int
    settings: LevelSettings

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        skips: tuple[jax.Array, ...],
        emb: jax.Array,
        context: jax.Array,
        size: tuple[int, int] | None,
    ) -> jax.Array:
        """x: (*n, h, w, c); skips: one a layer, used from the last; size: to resize to, None for the final block."""
        for i, skip in enumerate(reversed(skips)):
            x = self.settings.resnet(self.channels, f"resnets_{i}")(jnp.concatenate([x, skip], axis=-1), emb)
            if self.settings.heads is not None:
                x = self.settings.transformer(f"attentions_{i}")(x, context)
        if size is None:
            return x
        upsample = Upsample2D(self.settings.dtype, name="upsamplers_0")
        return by_picture(lambda pictures: upsample(pictures, size), x)
