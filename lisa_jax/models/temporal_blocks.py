"""One level of a UNet of videos: down, mid and up blocks, with or without attention; arrays are (n, f, h, w, c).

Blattmann et al., "Stable Video Diffusion", arXiv 2311.15127; names and arithmetic are those of diffusers.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.remat import rematerialised
from lisa_jax.models.resnet import Downsample2D, Upsample2D
from lisa_jax.models.temporal import SpatioTemporalResBlock, frames_as_rows, rows_as_frames
from lisa_jax.models.temporal_attention import TransformerSpatioTemporal

# diffusers has these in its code; no config says them.
NORM_GROUPS = 32
DOWNSAMPLE_PADDING = 1
# Epsilon of the norms in the resnets of blocks: of a down block with attention and of up blocks, and of the others.
EPS, PLAIN_EPS = 1e-6, 1e-5


@dataclasses.dataclass(frozen=True)
class TemporalBlockSettings:
    """What the blocks of one level share (`heads=None`: it has no transformers)."""

    norm_eps: float
    heads: int | None = None
    transformer_layers: int = 1
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"

    def resnet(self, channels: int, name: str) -> SpatioTemporalResBlock:
        block = rematerialised(SpatioTemporalResBlock, self.remat)
        return block(channels, NORM_GROUPS, self.norm_eps, self.norm_eps, dtype=self.dtype, name=name)

    def transformer(self, name: str) -> TransformerSpatioTemporal:
        return TransformerSpatioTemporal(
            self.heads, self.transformer_layers, NORM_GROUPS, self.dtype, self.remat, self.attention, name=name
        )


class TemporalDownBlock(nn.Module):
    """diffusers' `DownBlockSpatioTemporal` and `CrossAttnDownBlockSpatioTemporal`."""

    channels: int
    layers: int
    settings: TemporalBlockSettings
    downsample: bool

    @nn.compact
    def __call__(self, x: jax.Array, emb: jax.Array, context: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """x: (n, f, h, w, c); emb: (n, f, e). Returns the new hidden state and the skips, one a layer and one for the
        downsampler."""
        skips = ()
        for i in range(self.layers):
            x = self.settings.resnet(self.channels, f"resnets_{i}")(x, emb)
            if self.settings.heads is not None:
                x = self.settings.transformer(f"attentions_{i}")(x, context)
            skips += (x,)
        if self.downsample:
            rows = Downsample2D(DOWNSAMPLE_PADDING, self.settings.dtype, name="downsamplers_0")(frames_as_rows(x))
            x = rows_as_frames(rows, x.shape[1])
            skips += (x,)
        return x, skips


class TemporalMidBlock(nn.Module):
    """diffusers' `UNetMidBlockSpatioTemporal`."""

    settings: TemporalBlockSettings

    @nn.compact
    def __call__(self, x: jax.Array, emb: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, f, h, w, c); emb: (n, f, e). Returns (n, f, h, w, c)."""
        x = self.settings.resnet(x.shape[-1], "resnets_0")(x, emb)
        x = self.settings.transformer("attentions_0")(x, context)
        return self.settings.resnet(x.shape[-1], "resnets_1")(x, emb)


class TemporalUpBlock(nn.Module):
    """diffusers' `UpBlockSpatioTemporal` and `CrossAttnUpBlockSpatioTemporal`."""

    channels: int
    settings: TemporalBlockSettings

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        skips: tuple[jax.Array, ...],
        emb: jax.Array,
        context: jax.Array,
        size: tuple[int, int] | None,
    ) -> jax.Array:
        """x: (n, f, h, w, c); skips: one a layer, used from the last; size: to resize to, None for the final block."""
        for i, skip in enumerate(reversed(skips)):
            x = self.settings.resnet(self.channels, f"resnets_{i}")(jnp.concatenate([x, skip], axis=-1), emb)
            if self.settings.heads is not None:
                x = self.settings.transformer(f"attentions_{i}")(x, context)
        if size is None:
            return x
        return rows_as_frames(Upsample2D(self.settings.dtype, name="upsamplers_0")(frames_as_rows(x), size), x.shape[1])
