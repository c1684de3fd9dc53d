"""What a UNet of videos and its side network share: embeddings, down blocks, mid block, and the config of them.

The context of a video is a tree of "image_embeds" (n, m, d), tokens of its first frame; "image_latents" (n, h, w, c),
the first frame as latents, which every frame gets beside its own noisy ones; "time_ids" (n, 3), as for Stable Video
Diffusion frames a second less one, the amount of motion, and the noise on the first frame.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp

from lisa_jax.models.blocks import DownBlock, MidBlock
from lisa_jax.models.config_fields import Heads, Range, Width, check_fields, check_layers, shown
from lisa_jax.models.embeddings import sinusoidal_embedding
from lisa_jax.models.encoder import Channels, Layers, per_level
from lisa_jax.models.temporal_blocks import DOWNSAMPLE_PADDING, EPS, NORM_GROUPS, PLAIN_EPS, TemporalBlockSettings

VideoContext = Mapping[str, jax.Array]
Frames = Annotated[int, Range(1, 1024)]
TransformerLayers = Annotated[int, Range(1, 64)]
_WITH_ATTENTION = {"down": "CrossAttnDownBlockSpatioTemporal", "up": "CrossAttnUpBlockSpatioTemporal"}
_PLAIN = {"down": "DownBlockSpatioTemporal", "up": "UpBlockSpatioTemporal"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemporalEncoderConfig:
    """Fields of diffusers' `UNetSpatioTemporalConditionModel` about its encoder, with their names and defaults.

    Raises:
      ValueError: a field whose value is not supported, by name.
    """

    in_channels: Channels = 8
    out_channels: Channels = 4
    down_block_types: tuple[str, ...] = (_WITH_ATTENTION["down"],) * 3 + (_PLAIN["down"],)
    block_out_channels: Annotated[tuple[Width, ...], Range(1, 10)] = (320, 640, 1280, 1280)
    addition_time_embed_dim: Width = 256
    projection_class_embeddings_input_dim: Width = 768
    layers_per_block: Layers = 2
    cross_attention_dim: Width = 1024
    transformer_layers_per_block: TransformerLayers | tuple[TransformerLayers, ...] = 1
    num_attention_heads: Heads | tuple[Heads, ...] = (5, 10, 20, 20)
    num_frames: Frames = 25

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.block_out_channels)

    @property
    def heads(self) -> tuple[int, ...]:
        """Number of attention heads of every level."""
        return per_level(self.num_attention_heads, self.levels)

    @property
    def time_embedding_dim(self) -> int:
        """Width of the time embedding that all resnets get."""
        return 4 * self.block_out_channels[0]

    @property
    def time_ids(self) -> int:
        """How many numbers a context's time ids are."""
        return self.projection_class_embeddings_input_dim // self.addition_time_embed_dim

    @property
    def image_channels(self) -> int:
        """Channels of the first frame's latents: what the noisy ones leave of the input."""
        return self.in_channels - self.out_channels

    @property
    def layers(self) -> int:
        """Resnets and transformer blocks of the down blocks and the mid block, those of frames and of time apart."""
        return 2 * (self._layers_of(self.down_block_types, 0) + 2 + self.transformer_layers[-1])

    @property
    def transformer_layers(self) -> tuple[int, ...]:
        """Transformer blocks a layer of every level."""
        return per_level(self.transformer_layers_per_block, self.levels)

    def context_shapes(self, height: int, width: int) -> dict[str, jax.ShapeDtypeStruct]:
        """A context of one token beside latents of this size, which a network is traced with."""
        shapes = {
            "image_embeds": (1, 1, self.cross_attention_dim),
            "image_latents": (1, height, width, self.image_channels),
            "time_ids": (1, self.time_ids),
        }
        return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}

    def block_settings(
        self, kind: str, level: int, dtype: jnp.dtype, remat: str, attention: str
    ) -> TemporalBlockSettings:
        """Settings of the blocks of one level (0 is the finest), of a kind by diffusers' name."""
        attends = kind.startswith("CrossAttn")
        return TemporalBlockSettings(
            norm_eps=PLAIN_EPS if kind == _PLAIN["down"] else EPS,
            heads=self.heads[level] if attends else None,
            transformer_layers=self.transformer_layers[level],
            dtype=dtype,
            remat=remat,
            attention=attention,
        )

    def _layers_of(self, kinds: tuple[str, ...], more: int) -> int:
        return sum(
            (self.layers_per_block + more) * (1 + layers * kind.startswith("CrossAttn"))
            for kind, layers in zip(kinds, self.transformer_layers, strict=True)
        )

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_kinds("down_block_types", self.down_block_types, "down")
        for name in ("transformer_layers_per_block", "num_attention_heads"):
            if len(per_level(getattr(self, name), self.levels)) != self.levels:
                raise ValueError(
                    f"{name} {shown(getattr(self, name))} is not supported: give one for each of the {self.levels} "
                    "block_out_channels."
                )
        check_layers(self.layers)
        for channels, heads in zip(self.block_out_channels, self.heads, strict=True):
            if channels % NORM_GROUPS or channels % heads:
                raise ValueError(
                    f"block_out_channels {channels} is not supported: it must be a multiple of {NORM_GROUPS} and of "
                    f"its num_attention_heads, {heads}."
                )
        if self.image_channels < 1:
            raise ValueError(
                f"in_channels {self.in_channels} is not supported beside out_channels {self.out_channels}: the first "
                "frame's latents need some too, as in image-to-video."
            )
        if self.projection_class_embeddings_input_dim != self.time_ids * self.addition_time_embed_dim:
            raise ValueError(
                f"projection_class_embeddings_input_dim {self.projection_class_embeddings_input_dim} is not "
                f"supported: it must be a multiple of addition_time_embed_dim, {self.addition_time_embed_dim}."
            )

    def _check_kinds(self, name: str, kinds: tuple[str, ...], place: str) -> None:
        if len(kinds) != self.levels:
            raise ValueError(
                f"{name} {shown(kinds)} is not supported: give one for each of the {self.levels} block_out_channels."
            )
        for kind in kinds:
            if kind not in (_WITH_ATTENTION[place], _PLAIN[place]):
                raise ValueError(
                    f"{name} {shown(kind)} is not supported: only {_WITH_ATTENTION[place]} and {_PLAIN[place]}."
                )


def temporal_down_blocks(
    config: TemporalEncoderConfig, dtype: jnp.dtype, remat: str, attention: str
) -> list[DownBlock]:
    """The down blocks, finest first; the last keeps its resolution."""
    return [
        DownBlock(
            channels=config.block_out_channels[level],
            layers=config.layers_per_block,
            settings=config.block_settings(kind, level, dtype, remat, attention),
            downsample_padding=DOWNSAMPLE_PADDING if level < config.levels - 1 else None,
        )
        for level, kind in enumerate(config.down_block_types)
    ]


def temporal_mid_block(config: TemporalEncoderConfig, dtype: jnp.dtype, remat: str, attention: str) -> MidBlock:
    """The mid block, always with attention."""
    settings = config.block_settings(_WITH_ATTENTION["down"], -1, dtype, remat, attention)
    return MidBlock(dataclasses.replace(settings, norm_eps=PLAIN_EPS))


def time_sinusoids(config: TemporalEncoderConfig, t: jax.Array) -> jax.Array:
    """Input of the time embedding: (n,) network time -> (n, first block's channels) float32."""
    return sinusoidal_embedding(t, config.block_out_channels[0])


def id_sinusoids(config: TemporalEncoderConfig, context: VideoContext) -> jax.Array:
    """Input of the added embedding, the sinusoids of every time id: (n, ids x width) float32."""
    ids = context["time_ids"]
    if ids.shape[1:] != (config.time_ids,):
        raise ValueError(f"time_ids are {ids.shape[-1]} numbers, but this network was made for {config.time_ids}.")
    return sinusoidal_embedding(ids.reshape(-1), config.addition_time_embed_dim).reshape(len(ids), -1)


def tokens_of_video(config: TemporalEncoderConfig, context: VideoContext) -> jax.Array:
    """The tokens of the first frame (n, m, cross_attention_dim); ValueError for those of another image encoder."""
    tokens = context["image_embeds"]
    if tokens.shape[-1] != config.cross_attention_dim:
        raise ValueError(
            f"image_embeds have width {tokens.shape[-1]}, but cross_attention_dim is {config.cross_attention_dim}: "
            "use the image encoder of the same checkpoint."
        )
    return tokens


def beside_first_frame(x_t: jax.Array, context: VideoContext) -> jax.Array:
    """Noisy latents (n, f, h, w, c) with the first frame's (n, h, w, c') beside every frame: (n, f, h, w, c + c')."""
    first = context["image_latents"].astype(x_t.dtype)[:, None]
    return jnp.concatenate([x_t, jnp.broadcast_to(first, (*x_t.shape[:-1], first.shape[-1]))], axis=-1)
