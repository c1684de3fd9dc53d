"""What the blocks of a UNet of videos are made of; arrays are (n, f, h, w, c).

Blattmann et al., "Stable Video Diffusion", arXiv 2311.15127; names and arithmetic are those of diffusers.
"""

import dataclasses

import jax.numpy as jnp

from lisa_jax.models.remat import rematerialised
from lisa_jax.models.temporal import SpatioTemporalResBlock
from lisa_jax.models.temporal_attention import TransformerSpatioTemporal

# diffusers has these in its code; no config says them.
NORM_GROUPS = 32
DOWNSAMPLE_PADDING = 1
# Epsilon of the norms in the resnets of blocks: of a down block with attention and of up blocks, and of the others.
EPS, PLAIN_EPS = 1e-6, 1e-5


@dataclasses.dataclass(frozen=True)
class TemporalBlockSettings:
    """`LevelSettings` of videos."""

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
