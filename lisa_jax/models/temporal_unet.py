"""The UNet of Stable Video Diffusion (diffusers' `UNetSpatioTemporalConditionModel`); arrays are (n, f, h, w, c).

Blattmann et al., "Stable Video Diffusion: Scaling Latent Video Diffusion Models to Large Datasets", arXiv 2311.15127.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.blocks import UpBlock
from lisa_jax.models.by_picture import by_picture
from lisa_jax.models.config_fields import check_fields
from lisa_jax.models.embeddings import TimestepEmbedding
from lisa_jax.models.layers import Conv
from lisa_jax.models.norms import group_norm
from lisa_jax.models.temporal_blocks import NORM_GROUPS, PLAIN_EPS
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
from lisa_jax.models.unet import Side, Trunk


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemporalUNetConfig(TemporalEncoderConfig):
    """Config of a UNet of videos, by diffusers' field names and with its defaults."""

    sample_size: Side | tuple[Side, Side] | None = None
    up_block_types: tuple[str, ...] = ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3

    @property
    def layers(self) -> int:
        """Resnets and transformer blocks of the whole network."""
        return super().layers + 2 * self._layers_of(tuple(reversed(self.up_block_types)), 1)

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_kinds("up_block_types", self.up_block_types, "up")
        super().__post_init__()


class TemporalUNet(nn.Module):
    """UNet of videos in two halves, so that one trunk serves the passes with and without control.

    `dtype` is the compute dtype; norm statistics, softmax and embeddings are in float32. `remat` says what the backward
    pass computes again (see `models.remat`), `attention` is the implementation of attention (see `attention.attend`).
    None of them changes the parameters.
    """

    config: TemporalUNetConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"

    def setup(self) -> None:
        config, settings = self.config, (self.dtype, self.remat, self.attention)
        self.conv_in = Conv(config.block_out_channels[0], dtype=self.dtype)
        self.time_embedding = TimestepEmbedding(config.time_embedding_dim)
        self.add_embedding = TimestepEmbedding(config.time_embedding_dim)
        self.down_blocks = temporal_down_blocks(config, *settings)
        self.mid_block = temporal_mid_block(config, *settings)
        self.up_blocks = [
            UpBlock(config.block_out_channels[level], config.block_settings(kind, level, *settings))
            for level, kind in zip(reversed(range(config.levels)), config.up_block_types, strict=True)
        ]
        self.conv_norm_out = group_norm(NORM_GROUPS, PLAIN_EPS, self.dtype, silu=True)
        self.conv_out = Conv(config.out_channels, dtype=self.dtype)

    def encode(self, x_t: jax.Array, t: jax.Array, context: VideoContext) -> Trunk:
        """Run everything up to and including the mid block.

        Args:
          x_t: (n, f, h, w, out_channels) noisy latents as the network sees them, any f, h and w.
          t: (n,) network time.
          context: see `temporal_encoder`.

        Returns:
          The trunk, its arrays (n, f, h, w, c).
        """
        emb = self.time_embedding(time_sinusoids(self.config, t)) + self.add_embedding(
            id_sinusoids(self.config, context)
        )
        tokens, frames = tokens_of_video(self.config, context), x_t.shape[1]
        hidden = by_picture(self.conv_in, beside_first_frame(x_t, context))
        skips, emb_of_frames = (hidden,), of_frames(emb, frames)
        for block in self.down_blocks:
            hidden, outputs = block(hidden, emb_of_frames, tokens)
            skips += outputs
        return Trunk(self.mid_block(hidden, emb_of_frames, tokens), skips, emb, tokens)

    def decode(self, trunk: Trunk, residuals: tuple[jax.Array, ...] | None = None) -> jax.Array:
        """Run the up path.

        Args:
          trunk: from `encode`.
          residuals: one array for each skip and a last one for the hidden state, added to them; None adds nothing.

        Returns:
          (n, f, h, w, out_channels) prediction in the compute dtype.
        Raises:
          ValueError: the wrong number of residuals.
        """
        hidden, skips, emb, tokens = trunk.controlled(residuals)
        emb_of_frames, count = of_frames(emb, hidden.shape[1]), self.config.layers_per_block + 1
        for block in self.up_blocks:
            skips, used = skips[:-count], skips[-count:]
            hidden = block(hidden, used, emb_of_frames, tokens, skips[-1].shape[2:4] if skips else None)
        return by_picture(lambda frames: self.conv_out(self.conv_norm_out(frames)), hidden)

    def __call__(
        self, x_t: jax.Array, t: jax.Array, context: VideoContext, residuals: tuple[jax.Array, ...] | None = None
    ) -> jax.Array:
        """Both halves; arguments and result as in `encode` and `decode`."""
        return self.decode(self.encode(x_t, t, context), residuals)


def of_frames(emb: jax.Array, frames: int) -> jax.Array:
    """The embedding of a video (n, e) for each of its frames: (n, f, e)."""
    return jnp.broadcast_to(emb[:, None], (len(emb), frames, emb.shape[-1]))
