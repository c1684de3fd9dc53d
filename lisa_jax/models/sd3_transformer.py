"""The transformer of Stable Diffusion 3 and 3.5 (MMDiT; diffusers' `SD3Transformer2DModel`), NHWC.

Control is added to the image tokens after every block but the last, so the trunk, which control cannot reach, is the
embedders and block 0.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.joint_blocks import Modulation, modulated, normalised
from lisa_jax.models.layers import Linear
from lisa_jax.models.sd3_embedders import (
    SD3Config,
    TimeTextEmbedding,
    check_context,
    joint_blocks,
    patch_embedding,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SD3TransformerConfig(SD3Config):
    """Config of the transformer, by diffusers' field names and with its defaults."""

    @property
    def predicted_channels(self) -> int:
        """Channels of the prediction."""
        return self.out_channels or self.in_channels

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("joint_attention_dim", "pos_embed_max_size"):
            if getattr(self, name) is None:
                raise ValueError(f"{name} None is not supported: only side networks may be without.")


class SD3Trunk(NamedTuple):
    """What control cannot reach: the state of the transformer after block 0.

    Grids are in patches, d is the width of a token.

    Attributes:
      embedded: (n, h, w, d) latents with positions, before block 0: what side networks without an embedding begin with.
      hidden: (n, h, w, d) image tokens after block 0.
      text: (n, l, d) text tokens after block 0; as they were embedded where it is the only block.
      time: (n, d) float32 embedding of time and pooled text.
      positions: (n, h, w, d) the positions in `embedded`, for side networks that embed the latents themselves.
    """

    embedded: jax.Array
    hidden: jax.Array
    text: jax.Array
    time: jax.Array
    positions: jax.Array


class SD3Transformer(nn.Module):
    """Transformer in two halves, so that one trunk serves the passes with and without control.

    `dtype` is the compute dtype; norm statistics, softmax and time embedding are in float32. `remat` says what the
    backward pass computes again (see `models.remat`), `attention` is the implementation of attention (see
    `attention.attend`). None of them changes the parameters.
    """

    config: SD3TransformerConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"

    def setup(self) -> None:
        config = self.config
        self.pos_embed = patch_embedding(config, self.dtype)
        self.time_text_embed = TimeTextEmbedding(config.width)
        self.context_embedder = Linear(config.width, dtype=self.dtype)
        self.transformer_blocks = joint_blocks(config, self.dtype, self.remat, self.attention, last_ends=True)
        self.norm_out = Modulation(2, self.dtype)
        self.proj_out = Linear(config.patch_size**2 * config.predicted_channels, dtype=self.dtype)

    def encode(self, x_t: jax.Array, t: jax.Array, context: Mapping[str, jax.Array]) -> SD3Trunk:
        """Run everything up to and including block 0.

        Args:
          x_t: (n, h, w, in_channels) noisy latents, h and w multiples of the patch size.
          t: (n,) network time, 1000 sigma.
          context: "tokens" (n, l, joint_attention_dim) text features, "pooled" (n, pooled_projection_dim).

        Raises:
          ValueError: a size that does not divide into patches or is larger than the table of positions, or text
            features of the wrong width.
        """
        check_context(self.config, context)
        embedded, positions = self.pos_embed(x_t)
        time = self.time_text_embed(t, context["pooled"])
        text = self.context_embedder(context["tokens"])
        tokens, text = self.transformer_blocks[0](_tokens(embedded), text, time)
        positions = jnp.broadcast_to(positions, embedded.shape)
        return SD3Trunk(embedded, tokens.reshape(embedded.shape), text, time, positions)

    def decode(self, trunk: SD3Trunk, residuals: tuple[jax.Array, ...] | None = None) -> jax.Array:
        """Run the other blocks.

        Args:
          trunk: from `encode`.
          residuals: num_layers - 1 arrays like `trunk.hidden`, the i-th added to the image tokens after block i; None
            adds nothing.

        Returns:
          (n, h, w, out_channels) prediction in the compute dtype.
        Raises:
          ValueError: the wrong number of residuals.
        """
        taken = self.config.num_layers - 1
        if residuals is not None and len(residuals) != taken:
            raise ValueError(
                f"{len(residuals)} residuals given, but this transformer takes {taken}: none after its last."
            )
        tokens, text = _tokens(trunk.hidden), trunk.text
        for i, block in enumerate(self.transformer_blocks[1:]):
            if residuals is not None:
                tokens = tokens + _tokens(residuals[i]).astype(tokens.dtype)
            tokens, text = block(tokens, text, trunk.time)
        scale, shift = self.norm_out(trunk.time)
        patches = self.proj_out(modulated(normalised(tokens, self.dtype), shift, scale))
        return self._unpatchify(patches.reshape(*trunk.hidden.shape[:3], -1))

    def _unpatchify(self, patches: jax.Array) -> jax.Array:
        """(n, h, w, patch * patch * c) -> (n, h * patch, w * patch, c)."""
        n, rows, columns, _ = patches.shape
        size = self.config.patch_size
        pixels = patches.reshape(n, rows, columns, size, size, -1).swapaxes(2, 3)
        return pixels.reshape(n, rows * size, columns * size, -1)

    def __call__(
        self,
        x_t: jax.Array,
        t: jax.Array,
        context: Mapping[str, jax.Array],
        residuals: tuple[jax.Array, ...] | None = None,
    ) -> jax.Array:
        """Both halves; arguments and result as in `encode` and `decode`."""
        return self.decode(self.encode(x_t, t, context), residuals)


def _tokens(grid: jax.Array) -> jax.Array:
    """(n, h, w, d) -> (n, h * w, d), row by row."""
    return grid.reshape(grid.shape[0], -1, grid.shape[-1])
