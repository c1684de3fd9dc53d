"""Transformer blocks of networks of videos: attention within each frame, then along time, and a blend of the two.

Blattmann et al., "Stable Video Diffusion", arXiv 2311.15127; names and arithmetic are those of diffusers.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.attention import TRANSFORMER_NORM_EPS, Attention, BasicTransformerBlock, FeedForward
from lisa_jax.models.embeddings import TimestepEmbedding, sinusoidal_embedding
from lisa_jax.models.layers import Linear
from lisa_jax.models.norms import LayerNorm, group_norm
from lisa_jax.models.remat import rematerialised
from lisa_jax.models.temporal import AlphaBlender, frames_as_rows, rows_as_frames


class TemporalBasicTransformerBlock(nn.Module):
    """Feed-forward, self-attention of each place along time, cross-attention, feed-forward, each behind a LayerNorm.

    diffusers' class of this name, with as many channels within as outside.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32
    attention: str = "auto"
    recompute_attention: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, f, l, c), l places of f frames; context: (n, m, d). Returns (n, f, l, c)."""
        settings = self.heads, self.dtype, self.attention, self.recompute_attention
        n, frames, places, channels = x.shape
        # A row for each place: its frames are what attends to each other.
        x = x.swapaxes(1, 2).reshape(n * places, frames, channels)
        x += FeedForward(self.dtype, name="ff_in")(LayerNorm(self.dtype, name="norm_in")(x))
        hidden = LayerNorm(self.dtype, name="norm1")(x)
        x += Attention(*settings, name="attn1")(hidden, hidden)
        # To the context all frames and places of a video attend alike.
        hidden = LayerNorm(self.dtype, name="norm2")(x).reshape(n, places * frames, channels)
        x += Attention(*settings, name="attn2")(hidden, context).reshape(x.shape)
        x += FeedForward(self.dtype, name="ff")(LayerNorm(self.dtype, name="norm3")(x))
        return x.reshape(n, places, frames, channels).swapaxes(1, 2)


class TransformerSpatioTemporal(nn.Module):
    """Transformer blocks over the pixels of each frame, each followed by one along time and their blend.

    diffusers' `TransformerSpatioTemporalModel` for frames that are all of one video, as in Stable Video Diffusion.
    """

    heads: int
    layers: int
    norm_groups: int
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array) -> jax.Array:
        """x: (n, f, h, w, c); context: (n, m, d). Returns (n, f, h, w, c)."""
        n, frames, height, width, channels = x.shape
        hidden = group_norm(self.norm_groups, TRANSFORMER_NORM_EPS, self.dtype, "norm")(frames_as_rows(x))
        hidden = Linear(channels, dtype=self.dtype, name="proj_in")(hidden.reshape(n, frames, height * width, channels))
        positions = TimestepEmbedding(4 * channels, channels, name="time_pos_embed")(
            sinusoidal_embedding(jnp.arange(frames), channels)
        )
        context_of_frames = jnp.repeat(context, frames, axis=0)
        recompute_attention = self.remat == "attention"
        spatial_block = rematerialised(BasicTransformerBlock, self.remat)
        temporal_block = rematerialised(TemporalBasicTransformerBlock, self.remat)
        blend = AlphaBlender(0.5, name="time_mixer")
        for i in range(self.layers):
            of_frames = spatial_block(
                self.heads, False, self.dtype, self.attention, recompute_attention, name=f"transformer_blocks_{i}"
            )
            along_time = temporal_block(
                self.heads, self.dtype, self.attention, recompute_attention, name=f"temporal_transformer_blocks_{i}"
            )
            spatial = rows_as_frames(of_frames(frames_as_rows(hidden), context_of_frames), frames)
            placed = spatial + positions[:, None].astype(spatial.dtype)
            hidden = blend(spatial, along_time(placed, context))
        return x + Linear(channels, dtype=self.dtype, name="proj_out")(hidden).reshape(x.shape)
