"""What UNet and ControlNet share: time embedding, down blocks, mid block, and the config that describes them."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from lisa_jax.models.blocks import BlockSettings, DownBlock, MidBlock
from lisa_jax.models.config_fields import Epsilon, Heads, Range, Width, check_fields, check_layers, shown
from lisa_jax.models.embeddings import sinusoidal_embedding

CROSS_ATTENTION_MID = "UNetMidBlock2DCrossAttn"
# Of Stable Diffusion XL: the pooled text and what is known of the picture's size go where the time goes.
TEXT_AND_TIME = "text_time"
# Height and width of the original, top and left of the crop, height and width of what is made.
TIME_IDS = 6

# Text tokens (n, m, cross_attention_dim); with a `text_time` embedding a tree of "tokens", the same, "pooled"
# (n, pooled_dim) and "time_ids" (n, 6).
Context = jax.Array | Mapping[str, jax.Array]

Channels = Annotated[int, Range(1, 1024)]
Layers = Annotated[int, Range(1, 32)]
TransformerLayers = Annotated[int, Range(0, 64)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Fields that diffusers' `UNet2DConditionModel` and `ControlNetModel` share, with their names and defaults.

    `attention_head_dim` is the *number of heads* (diffusers kept the misnomer), one for all levels or one a level.
    `upcast_attention` changes nothing here (see `attention.Attention`) and is kept for the round trip of a config.

    Raises:
      ValueError: a field whose value is not supported, by name.
    """

    in_channels: Channels = 4
    flip_sin_to_cos: bool = True
    freq_shift: Annotated[int, Range(0, 1)] = 0
    down_block_types: tuple[str, ...] = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    mid_block_type: str | None = CROSS_ATTENTION_MID
    only_cross_attention: bool | tuple[bool, ...] = False
    block_out_channels: Annotated[tuple[Width, ...], Range(1, 10)] = (320, 640, 1280, 1280)
    layers_per_block: Layers | tuple[Layers, ...] = 2
    downsample_padding: Annotated[int, Range(0, 3)] = 1
    mid_block_scale_factor: Annotated[float, Range(1e-6, 1e6)] = 1.0
    act_fn: str = "silu"
    norm_num_groups: Width = 32
    norm_eps: Epsilon = 1e-5
    cross_attention_dim: Width = 1280
    transformer_layers_per_block: TransformerLayers | tuple[TransformerLayers, ...] = 1
    attention_head_dim: Heads | tuple[Heads, ...] = 8
    use_linear_projection: bool = False
    upcast_attention: bool = False
    addition_embed_type: str | None = None
    addition_time_embed_dim: Width | None = None
    projection_class_embeddings_input_dim: Width | None = None

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.block_out_channels)

    @property
    def heads(self) -> tuple[int, ...]:
        """Number of attention heads of every level."""
        return per_level(self.attention_head_dim, self.levels)

    @property
    def time_embedding_dim(self) -> int:
        """Width of the time embedding that all resnets get."""
        return 4 * self.block_out_channels[0]

    @property
    def pooled_dim(self) -> int | None:
        """Width of the pooled text in the context; None where the context is text tokens alone.

        diffusers reads the other fields of added embeddings only beside an `addition_embed_type`.
        """
        if self.addition_embed_type is None:
            return None
        return (self.projection_class_embeddings_input_dim or 0) - TIME_IDS * (self.addition_time_embed_dim or 0)

    @property
    def context_shapes(self) -> Any:
        """A context of one text token as `jax.ShapeDtypeStruct`, which a network is traced with."""
        tokens = jax.ShapeDtypeStruct((1, 1, self.cross_attention_dim), jnp.float32)
        if self.pooled_dim is None:
            return tokens
        pooled = jax.ShapeDtypeStruct((1, self.pooled_dim), jnp.float32)
        return {"tokens": tokens, "pooled": pooled, "time_ids": jax.ShapeDtypeStruct((1, TIME_IDS), jnp.int32)}

    @property
    def layers(self) -> int:
        """Resnets and transformer blocks of the down blocks and the mid block."""
        down = self._layers_of(self.down_block_types, self.layers_per_block)
        return down + 2 + per_level(self.transformer_layers_per_block, self.levels)[-1]

    def _layers_of(self, kinds: tuple[str, ...], layers_per_block: int | tuple[int, ...]) -> int:
        """Resnets and transformer blocks of one block a level, finest first."""
        sizes = per_level(layers_per_block, self.levels), per_level(self.transformer_layers_per_block, self.levels)
        return sum(
            layers * (1 + transformer_layers * ("CrossAttn" in kind))
            for kind, layers, transformer_layers in zip(kinds, *sizes, strict=True)
        )

    def __post_init__(self) -> None:
        check_fields(self)
        self._require_one_of("down_block_types", {"CrossAttnDownBlock2D", "DownBlock2D"})
        self._require_one_of("act_fn", {"silu", "swish"})
        for name in (
            "down_block_types",
            "only_cross_attention",
            "layers_per_block",
            "transformer_layers_per_block",
            "attention_head_dim",
        ):
            self._require_one_a_level(name)
        check_layers(self.layers)
        # diffusers divides by half of the sinusoids less the shift.
        if self.block_out_channels[0] // 2 == self.freq_shift:
            raise ValueError(
                f"freq_shift {self.freq_shift} is not supported with {self.block_out_channels[0]} channels."
            )
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(
                    f"block_out_channels {channels} is no multiple of norm_num_groups {self.norm_num_groups}."
                )
        self._check_added_embedding()
        self._check_heads(level for level, kind in enumerate(self.down_block_types) if "CrossAttn" in kind)
        self._check_heads([self.levels - 1] if self.mid_block_type == CROSS_ATTENTION_MID else [])

    def _check_added_embedding(self) -> None:
        """Refuse an added embedding of other inputs than Stable Diffusion XL's."""
        if self.addition_embed_type not in (None, TEXT_AND_TIME):
            raise ValueError(
                f"addition_embed_type {shown(self.addition_embed_type)} is not supported, as for Kandinsky or "
                f"DeepFloyd IF: only None, and {TEXT_AND_TIME!r} of Stable Diffusion XL."
            )
        if self.pooled_dim is not None and not (self.addition_time_embed_dim and self.pooled_dim > 0):
            raise ValueError(
                f"addition_time_embed_dim {self.addition_time_embed_dim} and projection_class_embeddings_input_dim "
                f"{self.projection_class_embeddings_input_dim} are not supported with addition_embed_type "
                f"{TEXT_AND_TIME!r}: the second is the pooled text's width and {TIME_IDS} times the first."
            )

    def _check_heads(self, levels_with_attention: Iterable[int]) -> None:
        """Refuse a number of heads that does not divide the channels of its level."""
        for level in levels_with_attention:
            if self.block_out_channels[level] % self.heads[level]:
                raise ValueError(
                    f"attention_head_dim {self.heads[level]} (the number of heads) does not divide "
                    f"block_out_channels {self.block_out_channels[level]}."
                )

    def _require_one_a_level(self, name: str) -> None:
        """Refuse a field that is neither one value nor a value for every level."""
        if len(per_level(getattr(self, name), self.levels)) != self.levels:
            raise ValueError(
                f"{name} {shown(getattr(self, name))} is not supported: give one for each of the {self.levels} "
                "block_out_channels."
            )

    def _require_one_of(self, name: str, supported: set[str | None]) -> None:
        """Refuse a field (or an entry of it) that is none of the supported values."""
        value = getattr(self, name)
        for item in value if isinstance(value, tuple) else (value,):
            if item not in supported:
                names = ", ".join(sorted(map(repr, supported)))
                raise ValueError(f"{name} {shown(item)} is not supported: only {names}.")


def per_level(value: Any, levels: int) -> tuple:
    """One value a level from one for all."""
    return value if isinstance(value, tuple) else (value,) * levels


def block_settings(
    config: EncoderConfig,
    level: int,
    cross_attention: bool,
    dtype: jnp.dtype,
    remat: str,
    attention: str = "auto",
) -> BlockSettings:
    """Settings of the blocks of one level (0 is the finest)."""
    return BlockSettings(
        norm_groups=config.norm_num_groups,
        norm_eps=config.norm_eps,
        heads=config.heads[level] if cross_attention else None,
        transformer_layers=per_level(config.transformer_layers_per_block, config.levels)[level],
        linear_projection=config.use_linear_projection,
        only_cross_attention=per_level(config.only_cross_attention, config.levels)[level],
        dtype=dtype,
        remat=remat,
        attention=attention,
    )


def down_blocks(config: EncoderConfig, dtype: jnp.dtype, remat: str, attention: str = "auto") -> list[DownBlock]:
    """The down blocks, finest first; the last keeps its resolution."""
    return [
        DownBlock(
            channels=config.block_out_channels[level],
            layers=per_level(config.layers_per_block, config.levels)[level],
            settings=block_settings(config, level, kind == "CrossAttnDownBlock2D", dtype, remat, attention),
            downsample_padding=config.downsample_padding if level < config.levels - 1 else None,
        )
        for level, kind in enumerate(config.down_block_types)
    ]


def mid_block(config: EncoderConfig, dtype: jnp.dtype, remat: str, attention: str = "auto") -> MidBlock:
    """The mid block; its self-attention stays, whatever `only_cross_attention` says (as in diffusers)."""
    settings = block_settings(config, -1, config.mid_block_type == CROSS_ATTENTION_MID, dtype, remat, attention)
    settings = dataclasses.replace(
        settings, only_cross_attention=False, output_scale=float(config.mid_block_scale_factor)
    )
    return MidBlock(settings)


def sinusoids(config: EncoderConfig, t: jax.Array) -> jax.Array:
    """Input of the time embedding: (n,) network time -> (n, first block's channels) float32."""
    return sinusoidal_embedding(t, config.block_out_channels[0], config.flip_sin_to_cos, config.freq_shift)


def added_inputs(config: EncoderConfig, context: Context) -> jax.Array:
    """Input of the added embedding: pooled text, then sinusoids of every time id; (n, pooled + 6 x width) float32."""
    time_ids = context["time_ids"]
    embedded = sinusoidal_embedding(
        time_ids.reshape(-1), config.addition_time_embed_dim, config.flip_sin_to_cos, config.freq_shift
    )
    return jnp.concatenate([context["pooled"].astype(jnp.float32), embedded.reshape(len(time_ids), -1)], axis=-1)


def tokens_of(config: EncoderConfig, context: Context) -> jax.Array:
    """The text tokens of a context (n, m, cross_attention_dim); ValueError for one of another text encoder."""
    is_tree = isinstance(context, Mapping)
    if is_tree != (config.pooled_dim is not None):
        raise ValueError(
            f"context is {'a tree' if is_tree else 'one array'}, but addition_embed_type is "
            f"{config.addition_embed_type!r}: use the text encoders of the same checkpoint."
        )
    tokens = context["tokens"] if is_tree else context
    if tokens.shape[-1] != config.cross_attention_dim:
        raise ValueError(
            f"context has width {tokens.shape[-1]}, but cross_attention_dim is {config.cross_attention_dim}: "
            "use the text encoder of the same checkpoint."
        )
    return tokens
