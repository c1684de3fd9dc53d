"""The text-conditioned UNet of Stable Diffusion 1.x and 2.x (diffusers' `UNet2DConditionModel`), NHWC."""

import dataclasses
from typing import Annotated, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.blocks import UpBlock
from lisa_jax.models.config_fields import Range, check_fields
from lisa_jax.models.embeddings import TimestepEmbedding
from lisa_jax.models.encoder import (
    CROSS_ATTENTION_MID,
    Channels,
    Context,
    EncoderConfig,
    added_inputs,
    block_settings,
    down_blocks,
    mid_block,
    per_level,
    sinusoids,
    tokens_of,
)
from lisa_jax.models.layers import Conv
from lisa_jax.models.norms import group_norm

Side = Annotated[int, Range(1, 65_536)]
Kernel = Annotated[int, Range(1, 31)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig(EncoderConfig):
    """Config of a UNet, by diffusers' field names and with its defaults."""

    sample_size: Side | tuple[Side, Side] | None = None
    out_channels: Channels = 4
    center_input_sample: bool = False
    up_block_types: tuple[str, ...] = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    conv_in_kernel: Kernel = 3
    conv_out_kernel: Kernel = 3

    @property
    def layers(self) -> int:
        """Resnets and transformer blocks of the whole network."""
        up = self._layers_of(tuple(reversed(self.up_block_types)), self.layers_per_block)
        # An up block has one layer more than the down block of its level.
        return super().layers + up + self.levels

    def __post_init__(self) -> None:
        check_fields(self)
        self._require_one_of("up_block_types", {"CrossAttnUpBlock2D", "UpBlock2D"})
        self._require_one_a_level("up_block_types")
        super().__post_init__()
        self._require_one_of("mid_block_type", {CROSS_ATTENTION_MID, "UNetMidBlock2D", None})
        for name in ("conv_in_kernel", "conv_out_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} {getattr(self, name)} is not supported: an even one changes the size.")
        self._check_heads(level for level, kind in enumerate(reversed(self.up_block_types)) if "CrossAttn" in kind)


class Trunk(NamedTuple):
    """What control cannot reach: the state of the UNet after its mid block.

    hidden: (n, *space, c) after the mid block; skips: outputs of conv_in and of the down blocks, finest first;
    emb: (n, e) float32 time embedding; tokens: (n, m, d) features of text, or of a video's first frame.
    """

    hidden: jax.Array
    skips: tuple[jax.Array, ...]
    emb: jax.Array
    tokens: jax.Array

    def controlled(self, residuals: tuple[jax.Array, ...] | None) -> "Trunk":
        """The same with residuals, one for each skip and a last one for the hidden state, added; None adds nothing.

        Raises:
          ValueError: the wrong number of residuals.
        """
        if residuals is None:
            return self
        if len(residuals) != len(self.skips) + 1:
            raise ValueError(
                f"{len(residuals)} residuals given, but this UNet takes {len(self.skips)} for its skips and one more."
            )
        *of_skips, last = residuals
        skips = tuple(skip + one.astype(skip.dtype) for skip, one in zip(self.skips, of_skips, strict=True))
        return self._replace(hidden=self.hidden + last.astype(self.hidden.dtype), skips=skips)


class UNet(nn.Module):
    """UNet in two halves, so that one trunk serves the passes with and without control.

    `dtype` is the compute dtype; norm statistics, softmax and time embedding are in float32. `remat` says what the
    backward pass computes again (see `models.remat`), `attention` is the implementation of attention (see
    `attention.attend`). None of them changes the parameters.
    """

    config: UNetConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"

    def setup(self) -> None:
        config = self.config
        self.conv_in = Conv(
            config.block_out_channels[0],
            config.conv_in_kernel,
            padding=(config.conv_in_kernel - 1) // 2,
            dtype=self.dtype,
        )
        self.time_embedding = TimestepEmbedding(config.time_embedding_dim)
        if config.pooled_dim is not None:
            self.add_embedding = TimestepEmbedding(config.time_embedding_dim)
        self.down_blocks = down_blocks(config, self.dtype, self.remat, self.attention)
        self.mid_block = (
            None if config.mid_block_type is None else mid_block(config, self.dtype, self.remat, self.attention)
        )
        self.up_blocks = [
            UpBlock(
                channels=config.block_out_channels[level],
                settings=block_settings(
                    config, level, kind == "CrossAttnUpBlock2D", self.dtype, self.remat, self.attention
                ),
            )
            for level, kind in zip(reversed(range(config.levels)), config.up_block_types, strict=True)
        ]
        self.conv_norm_out = group_norm(config.norm_num_groups, config.norm_eps, self.dtype, silu=True)
        self.conv_out = Conv(
            config.out_channels, config.conv_out_kernel, padding=(config.conv_out_kernel - 1) // 2, dtype=self.dtype
        )

    def encode(self, x_t: jax.Array, t: jax.Array, context: Context) -> Trunk:
        """Run everything up to and including the mid block.

        Args:
          x_t: (n, h, w, in_channels) noisy latents, any h and w.
          t: (n,) network time.
          context: (n, m, cross_attention_dim) text features, or a tree of them and more, see `encoder.Context`.
        """
        tokens = tokens_of(self.config, context)
        emb = self.time_embedding(sinusoids(self.config, t))
        if self.config.pooled_dim is not None:
            emb += self.add_embedding(added_inputs(self.config, context))
        if self.config.center_input_sample:
            x_t = 2 * x_t - 1
        hidden = self.conv_in(x_t)
        skips = (hidden,)
        for block in self.down_blocks:
            hidden, outputs = block(hidden, emb, tokens)
            skips += outputs
        if self.mid_block is not None:
            hidden = self.mid_block(hidden, emb, tokens)
        return Trunk(hidden, skips, emb, tokens)

    def decode(self, trunk: Trunk, residuals: tuple[jax.Array, ...] | None = None) -> jax.Array:
        """Run the up path.

        Args:
          trunk: from `encode`.
          residuals: one array for each skip and a last one for the hidden state, added to them; None adds nothing.

        Returns:
          (n, h, w, out_channels) prediction in the compute dtype.
        Raises:
          ValueError: the wrong number of residuals.
        """
        hidden, skips, emb, tokens = trunk.controlled(residuals)
        for level, block in zip(reversed(range(self.config.levels)), self.up_blocks, strict=True):
            # One skip a layer of its level, and one that comes from the level above it.
            count = per_level(self.config.layers_per_block, self.config.levels)[level] + 1
            skips, used = skips[:-count], skips[-count:]
            hidden = block(hidden, used, emb, tokens, skips[-1].shape[1:3] if skips else None)
        return self.conv_out(self.conv_norm_out(hidden))

    def __call__(
        self, x_t: jax.Array, t: jax.Array, context: Context, residuals: tuple[jax.Array, ...] | None = None
    ) -> jax.Array:
        """Both halves; arguments and result as in `encode` and `decode`."""
        return self.decode(self.encode(x_t, t, context), residuals)
