"""ControlNet (Zhang et al. 2023, arXiv 2302.05543; diffusers' `ControlNetModel`), NHWC."""

import dataclasses
from functools import partial
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.config_fields import Heads, Range, Width
from lisa_jax.models.embeddings import TimestepEmbedding
from lisa_jax.models.encoder import (
    CROSS_ATTENTION_MID,
    Channels,
    Context,
    EncoderConfig,
    added_inputs,
    down_blocks,
    mid_block,
    per_level,
    sinusoids,
    tokens_of,
)
from lisa_jax.models.layers import Conv
from lisa_jax.models.unet import UNetConfig

COPIED_FROM_UNET = ("conv_in", "time_embedding", "add_embedding", "down_blocks_", "mid_block")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlNetConfig(EncoderConfig):
    """Config of a ControlNet, by diffusers' field names and with its defaults.

    n entries in `conditioning_embedding_out_channels` downsample the condition by 2^(n-1).
    """

    conditioning_channels: Channels = 3
    num_attention_heads: Heads | tuple[Heads, ...] | None = None
    controlnet_conditioning_channel_order: str = "rgb"
    conditioning_embedding_out_channels: Annotated[tuple[Width, ...], Range(1, 8)] = (16, 32, 96, 256)
    global_pool_conditions: bool = False

    @property
    def heads(self) -> tuple[int, ...]:
        """Number of attention heads of every level: `num_attention_heads` goes before `attention_head_dim`."""
        return per_level(self.num_attention_heads or self.attention_head_dim, self.levels)

    @property
    def conditioning_downsampling(self) -> int:
        """Factor between the condition image and the latents."""
        return 2 ** (len(self.conditioning_embedding_out_channels) - 1)

    @property
    def unet_levels(self) -> tuple[tuple[int, ...], int]:
        """Channels of every level, and layers a level, of the UNet that takes the residuals."""
        return self.block_out_channels, self.layers_per_block

    @property
    def has_mid_block(self) -> bool:
        """Whether there is a mid block: only below all levels of the UNet does its residual fit."""
        return self.levels == len(self.unet_levels[0])

    def __post_init__(self) -> None:
        if isinstance(self.num_attention_heads, tuple):
            self._require_one_a_level("num_attention_heads")
        super().__post_init__()
        self._require_one_of("mid_block_type", {CROSS_ATTENTION_MID, "UNetMidBlock2D"})
        self._require_one_of("controlnet_conditioning_channel_order", {"rgb", "bgr"})
        if not isinstance(self.layers_per_block, int):
            raise ValueError(
                f"layers_per_block {self.layers_per_block} is not supported: a ControlNet has one integer."
            )


class ConditioningEmbedding(nn.Module):
    """Small convolutional encoder of the condition image.

    `birth` is that of its last convolution, `encoder_birth` that of those before it (see `Conv`).
    """

    channels: int
    block_channels: tuple[int, ...]
    dtype: jnp.dtype = jnp.float32
    birth: float = 0.0
    encoder_birth: float = 1.0

    @nn.compact
    def __call__(self, condition: jax.Array) -> jax.Array:
        """condition: (n, H, W, c). Returns (n, H / 2^k, W / 2^k, channels) with k = len(block_channels) - 1."""
        conv = partial(Conv, birth=self.encoder_birth, dtype=self.dtype)
        hidden = nn.silu(conv(self.block_channels[0], name="conv_in")(condition))
        for i, (fine, coarse) in enumerate(zip(self.block_channels[:-1], self.block_channels[1:], strict=True)):
            hidden = nn.silu(conv(fine, name=f"blocks_{2 * i}")(hidden))
            hidden = nn.silu(conv(coarse, stride=2, name=f"blocks_{2 * i + 1}")(hidden))
        return Conv(self.channels, birth=self.birth, dtype=self.dtype, name="conv_out")(hidden)


class ControlNet(nn.Module):
    """Side network: a copy of the UNet's encoder, or a smaller one, whose features leave through zero convolutions.

    `dtype` is the compute dtype; norm statistics, softmax and time embedding are in float32. `remat` says what the
    backward pass computes again (see `models.remat`), `attention` is the implementation of attention (see
    `attention.attend`). None of them changes the parameters. Births (see `Conv`) are those of the condition embedding's
    last convolution, of the zero convolutions, and of the embedding's other convolutions.
    """

    config: ControlNetConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"
    condition_birth: float = 0.0
    zero_birth: float = 0.0
    encoder_birth: float = 1.0

    def setup(self) -> None:
        config = self.config
        self.conv_in = Conv(config.block_out_channels[0], dtype=self.dtype)
        self.time_embedding = TimestepEmbedding(config.time_embedding_dim)
        if config.pooled_dim is not None:
            self.add_embedding = TimestepEmbedding(config.time_embedding_dim)
        self.controlnet_cond_embedding = ConditioningEmbedding(
            config.block_out_channels[0],
            config.conditioning_embedding_out_channels,
            self.dtype,
            self.condition_birth,
            self.encoder_birth,
        )
        self.down_blocks = down_blocks(config, self.dtype, self.remat, self.attention)
        channels = residual_channels(config)
        self.controlnet_down_blocks = [
            self._zero_conv(channels[name]) for name in feature_names(config) if name != "mid"
        ]
        if config.has_mid_block:
            self.mid_block = mid_block(config, self.dtype, self.remat, self.attention)
            self.controlnet_mid_block = self._zero_conv(channels["mid"])

    def _zero_conv(self, channels: int) -> Conv:
        return Conv(channels, kernel_size=1, padding=0, birth=self.zero_birth, dtype=self.dtype)

    def __call__(
        self, x_t: jax.Array, t: jax.Array, context: Context, condition: jax.Array
    ) -> tuple[tuple[jax.Array, ...], dict[str, jax.Array]]:
        """Encode noisy latents together with the condition.

        Args:
          x_t: (n, h, w, in_channels) noisy latents.
          t: (n,) network time.
          context: (n, m, cross_attention_dim) text features, or a tree of them and more, see `encoder.Context`.
          condition: (n, H, W, conditioning_channels) in [0, 1]; H and W come down to h and w.

        Returns:
          The residuals to add to the UNet's skips, the last one to its hidden state (all (n, 1, 1, c) with
          `global_pool_conditions`), and the features by name, `down_0`, ..., `mid`: each before its zero convolution.
        Raises:
          ValueError: a condition that does not come down to the latents' size.
        """
        tokens = tokens_of(self.config, context)
        if self.config.controlnet_conditioning_channel_order == "bgr":
            condition = condition[..., ::-1]
        emb = self.time_embedding(sinusoids(self.config, t))
        if self.config.pooled_dim is not None:
            emb += self.add_embedding(added_inputs(self.config, context))
        embedded = self.controlnet_cond_embedding(condition)
        if embedded.shape[1:3] != x_t.shape[1:3]:
            raise ValueError(
                f"a condition of {condition.shape[1:3]} comes down to {embedded.shape[1:3]}, but the latents are "
                f"{x_t.shape[1:3]}: it must be {self.config.conditioning_downsampling} times their size."
            )
        hidden = self.conv_in(x_t) + embedded
        skips = (hidden,)
        for block in self.down_blocks:
            hidden, outputs = block(hidden, emb, tokens)
            skips += outputs
        features = dict(zip(feature_names(self.config), skips, strict=False))
        residuals = {
            name: conv(feature)
            for (name, feature), conv in zip(features.items(), self.controlnet_down_blocks, strict=True)
        }
        if self.config.has_mid_block:
            features["mid"] = self.mid_block(hidden, emb, tokens)
            residuals["mid"] = self.controlnet_mid_block(features["mid"])
        if self.config.global_pool_conditions:
            residuals = {name: jnp.mean(one, axis=(1, 2), keepdims=True) for name, one in residuals.items()}
        # Broadcast by the UNet: what a smaller network does not have adds nothing.
        nothing = jnp.zeros((1, 1, 1, 1), self.dtype)
        return tuple(residuals.get(name, nothing) for name in residual_channels(self.config)), features


def residual_channels(config: ControlNetConfig) -> dict[str, int]:
    """Names and channels of all residuals that the UNet takes, in its order: `down_0`, ..., `mid`."""
    channels, layers = config.unet_levels
    down = [channels[0]]
    for level, width in enumerate(channels):
        down += [width] * layers
        if level < len(channels) - 1:
            down.append(width)
    return {f"down_{i}": width for i, width in enumerate(down)} | {"mid": channels[-1]}


def feature_names(config: ControlNetConfig) -> tuple[str, ...]:
    """Names of the side features in the network's order: each is called as the residual that is made of it."""
    unet_layers, layers = config.unet_levels[1], config.layers_per_block
    # A level begins with the output of conv_in or of a downsampler, and its layers follow.
    places = [0, *((layer + 1) * unet_layers // layers for layer in range(layers))]
    down = [f"down_{level * (unet_layers + 1) + place}" for level in range(config.levels) for place in places]
    return (*down, "mid") if config.has_mid_block else tuple(down)


def feature_shapes(config: ControlNetConfig, height: int, width: int) -> dict[str, tuple[int, int, int]]:
    """Names and shapes (h, w, c) of the side features for latents of height x width, in the order of the residuals."""
    channels = config.block_out_channels
    shapes = [(height, width, channels[0])]
    for level in range(config.levels):
        shapes += [(height, width, channels[level])] * config.layers_per_block
        if level < config.levels - 1:
            # A 3x3 convolution with stride 2; padding 0 stands for one row after the image.
            padding = 2 * config.downsample_padding or 1
            height, width = (height + padding - 3) // 2 + 1, (width + padding - 3) // 2 + 1
            shapes.append((height, width, channels[level]))
    if config.has_mid_block:
        shapes.append((height, width, channels[-1]))
    return dict(zip(feature_names(config), shapes, strict=True))


def controlnet_config_from_unet(
    unet: UNetConfig,
    conditioning_embedding_out_channels: tuple[int, ...] = (16, 32, 96, 256),
    controlnet_conditioning_channel_order: str = "rgb",
) -> ControlNetConfig:
    """Config of the ControlNet that fits a UNet (`ControlNetModel.from_unet`).

    Raises:
      ValueError: a UNet that diffusers' ControlNet cannot copy.
    """
    if unet.conv_in_kernel != 3:
        raise ValueError(f"conv_in_kernel {unet.conv_in_kernel} is not supported: a ControlNet's conv_in is 3x3.")
    if unet.center_input_sample:
        raise ValueError("center_input_sample True is not supported: a ControlNet does not centre its input.")
    shared = {field.name: getattr(unet, field.name) for field in dataclasses.fields(EncoderConfig)}
    return ControlNetConfig(
        **shared,
        conditioning_embedding_out_channels=tuple(conditioning_embedding_out_channels),
        controlnet_conditioning_channel_order=controlnet_conditioning_channel_order,
    )
