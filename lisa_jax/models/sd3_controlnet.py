"""Side networks of Stable Diffusion 3 and 3.5 (diffusers' `SD3ControlNetModel`), NHWC."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.config_fields import Range, shown
from lisa_jax.models.layers import Linear
from lisa_jax.models.sd3_embedders import (
    PatchEmbedding,
    SD3Config,
    TimeTextEmbedding,
    check_context,
    joint_blocks,
    patch_embedding,
)
from lisa_jax.models.sd3_transformer import SD3TransformerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SD3ControlNetConfig(SD3Config):
    """Config of a side network, by diffusers' field names and with its defaults.

    Without `joint_attention_dim` its blocks see no text tokens, and without `use_pos_embed` it begins with the latents
    as the transformer has embedded them: both are so in the side networks of SD3.5-large. Where
    `force_zeros_for_pooled_projection` is true, diffusers' pipelines give it zeros for pooled text, and conditions
    without the VAE's shift.
    """

    extra_conditioning_channels: Annotated[int, Range(0, 1024)] = 0
    pos_embed_type: str | None = "sincos"
    use_pos_embed: bool = True
    force_zeros_for_pooled_projection: bool = True

    @property
    def condition_channels(self) -> int:
        """Channels of a condition: encoded as latents are, and extra ones such as a mask."""
        return self.in_channels + self.extra_conditioning_channels

    @property
    def table_size(self) -> int | None:
        """Rows and columns of the network's own table of positions, in patches; None where it has none."""
        return self.pos_embed_max_size if self.use_pos_embed and self.pos_embed_type else None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pos_embed_type not in ("sincos", None):
            raise ValueError(f"pos_embed_type {shown(self.pos_embed_type)} is not supported: only 'sincos' or null.")
        if self.use_pos_embed and self.pos_embed_type and self.pos_embed_max_size is None:
            raise ValueError("pos_embed_max_size None is not supported with use_pos_embed: give the size of its table.")


class SD3ControlNet(nn.Module):
    """Side network whose image tokens leave after every block, through linear maps that are born as zeros.

    `dtype`, `remat` and `attention` are as of `SD3Transformer`. Births (see `Conv`) are those of the condition's
    embedding and of the maps through which residuals leave.
    """

    config: SD3ControlNetConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    attention: str = "auto"
    condition_birth: float = 0.0
    zero_birth: float = 0.0

    def setup(self) -> None:
        config = self.config
        if config.use_pos_embed:
            self.pos_embed = patch_embedding(config, self.dtype)
        self.time_text_embed = TimeTextEmbedding(config.width)
        if config.joint_attention_dim is not None:
            self.context_embedder = Linear(config.width, dtype=self.dtype)
        self.transformer_blocks = joint_blocks(config, self.dtype, self.remat, self.attention, last_ends=False)
        self.controlnet_blocks = [
            Linear(config.width, dtype=self.dtype, birth=self.zero_birth) for _ in range(config.num_layers)
        ]
        self.pos_embed_input = PatchEmbedding(
            config.width, config.patch_size, birth=self.condition_birth, dtype=self.dtype
        )

    def __call__(
        self,
        embedded: jax.Array | None,
        x_t: jax.Array,
        t: jax.Array,
        context: Mapping[str, jax.Array],
        condition: jax.Array,
        positions: jax.Array | None = None,
    ) -> tuple[tuple[jax.Array, ...], dict[str, jax.Array]]:
        """Encode noisy latents together with the condition.

        Args:
          embedded: (n, h / patch, w / patch, d) latents as the transformer has embedded them (`SD3Trunk`); only a
            network without `use_pos_embed` needs them.
          x_t: (n, h, w, in_channels) noisy latents, h and w multiples of the patch size.
          t: (n,) network time.
          context: "pooled" (n, pooled_projection_dim) text features and, with `joint_attention_dim`, "tokens" (n, l,
            joint_attention_dim).
          condition: (n, h, w, in_channels + extra_conditioning_channels), encoded as latents are.
          positions: the transformer's (`SD3Trunk`), to add them in place of those in the network's own table, of which
            there is no need then.

        Returns:
          The residuals, and the features by name, `block_0`, ...: image tokens after every block, before its linear
          map; all (n, h / patch, w / patch, d).
        Raises:
          ValueError: a size that does not divide into patches or is larger than the table, a condition of another size
            or number of channels, or text features of the wrong width.
        """
        config = self.config
        check_context(config, context)
        hidden = self._begin(embedded, x_t, positions) + self._embed(condition, x_t.shape)
        grid, tokens = hidden.shape, hidden.reshape(hidden.shape[0], -1, config.width)
        time = self.time_text_embed(t, context["pooled"])
        text = None if config.joint_attention_dim is None else self.context_embedder(context["tokens"])
        residuals, features = [], {}
        for i, (block, leave) in enumerate(zip(self.transformer_blocks, self.controlnet_blocks, strict=True)):
            tokens, text = block(tokens, text, time)
            features[f"block_{i}"] = tokens.reshape(grid)
            residuals.append(leave(tokens).reshape(grid))
        return tuple(residuals), features

    def _begin(self, embedded: jax.Array | None, x_t: jax.Array, positions: jax.Array | None) -> jax.Array:
        if self.config.use_pos_embed:
            return self.pos_embed(x_t, positions)[0]
        if embedded is None:
            raise ValueError("embedded is None, but a side network with use_pos_embed false begins with it.")
        return embedded.astype(self.dtype)

    def _embed(self, condition: jax.Array, latents: tuple[int, ...]) -> jax.Array:
        expected = (*latents[:3], self.config.condition_channels)
        if condition.shape != expected:
            raise ValueError(
                f"a condition of shape {condition.shape} does not fit these latents: it must be {expected}."
            )
        return self.pos_embed_input(condition)[0]


def feature_names(config: SD3ControlNetConfig) -> tuple[str, ...]:
    """Names of the side features in the network's order."""
    return tuple(f"block_{i}" for i in range(config.num_layers))


def residual_index(num_layers: int, num_residuals: int) -> tuple[int, ...]:
    """Which residual a transformer adds after each of its blocks but the last: fewer residuals are spread evenly.

    Of more than half as many residuals as layers the last is added nowhere, as in diffusers.

    Args:
      num_layers: of the transformer.
      num_residuals: at least one, and fewer than layers.

    Raises:
      ValueError: a number of residuals that does not fit.
    """
    if not 1 <= num_residuals < num_layers:
        raise ValueError(
            f"{num_residuals} residuals do not fit a transformer of {num_layers} layers: it takes 1 to "
            f"{num_layers - 1}."
        )
    # In floating point, as diffusers does it: `i // interval` would be another number here and there.
    interval = num_layers / num_residuals
    return tuple(int(i / interval) for i in range(num_layers - 1))


def sd3_controlnet_config_from_transformer(
    transformer: SD3TransformerConfig,
    num_layers: int = 12,
    *,
    extra_conditioning_channels: int = 0,
    with_text: bool = True,
    force_zeros_for_pooled_projection: bool = False,
) -> SD3ControlNetConfig:
    """Config of the side network that fits a transformer (`SD3ControlNetModel.from_transformer`).

    Args:
      transformer: the main network's.
      num_layers: blocks of the side network, fewer than the transformer has.
      extra_conditioning_channels: of a condition, beside those that it is encoded in.
      with_text: False: blocks without text tokens, that begin with the latents as the transformer has embedded them,
        as in the side networks of SD3.5-large.
      force_zeros_for_pooled_projection: see `SD3ControlNetConfig`. diffusers' default is true, which is right for
        networks that were trained so.

    Raises:
      ValueError: as many blocks as the transformer has, or more.
    """
    residual_index(transformer.num_layers, num_layers)
    shared = {field.name: getattr(transformer, field.name) for field in dataclasses.fields(transformer)}
    if not with_text:
        shared |= {"joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None}
    return SD3ControlNetConfig(
        **shared | {"num_layers": num_layers},
        extra_conditioning_channels=extra_conditioning_channels,
        force_zeros_for_pooled_projection=force_zeros_for_pooled_projection,
    )
