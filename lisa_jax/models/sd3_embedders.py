"""What the transformer of Stable Diffusion 3 and its side networks share: their config, and how they embed inputs."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp

from lisa_jax.models.config_fields import Heads, Range, Width, check_fields, check_layers, shown
from lisa_jax.models.embeddings import MAX_PERIOD, TimestepEmbedding, sinusoidal_embedding
from lisa_jax.models.joint_blocks import JointBlock, JointBlockSettings
from lisa_jax.models.layers import Conv
from lisa_jax.models.remat import rematerialised

Channels = Annotated[int, Range(1, 1024)]
TableSize = Annotated[int, Range(1, 4096)]
TIME_FEATURES = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class SD3Config:
    """Fields that diffusers' `SD3Transformer2DModel` and `SD3ControlNetModel` share, with their names and defaults.

    `sample_size` only scales the positions of a fresh table. Entries of `dual_attention_layers` beyond the last layer
    are without effect.

    Raises:
      ValueError: a field whose value is not supported, by name.
    """

    sample_size: Annotated[int, Range(1, 65_536)] = 128
    patch_size: Annotated[int, Range(1, 64)] = 2
    in_channels: Channels = 16
    num_layers: Annotated[int, Range(1, 256)] = 18
    attention_head_dim: Width = 64
    num_attention_heads: Heads = 18
    joint_attention_dim: Width | None = 4096
    caption_projection_dim: Width = 1152
    pooled_projection_dim: Width = 2048
    out_channels: Channels | None = 16
    pos_embed_max_size: TableSize | None = 96
    dual_attention_layers: Annotated[tuple[int, ...], Range(0, 256)] = ()
    qk_norm: str | None = None

    @property
    def width(self) -> int:
        """Of every token."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return self.num_layers

    @property
    def table_size(self) -> int | None:
        """Rows and columns of the network's own table of positions, in patches; None where it has none."""
        return self.pos_embed_max_size

    def __post_init__(self) -> None:
        check_fields(self)
        check_layers(self.num_layers)
        if self.qk_norm not in (None, "rms_norm"):
            raise ValueError(f"qk_norm {shown(self.qk_norm)} is not supported: only 'rms_norm' or null.")
        if self.joint_attention_dim is not None and self.caption_projection_dim != self.width:
            raise ValueError(
                f"caption_projection_dim {self.caption_projection_dim} is not supported: it must be "
                f"num_attention_heads x attention_head_dim, {self.width}."
            )
        if self.table_size is not None and self.width % 4:
            raise ValueError(
                f"attention_head_dim {self.attention_head_dim} x num_attention_heads {self.num_attention_heads} is not "
                "supported: sines and cosines of rows and columns need a multiple of 4."
            )
        if self.table_size is not None and self.patch_size > self.sample_size:
            raise ValueError(f"patch_size {self.patch_size} is larger than sample_size {self.sample_size}.")


class PatchEmbedding(nn.Module):
    """A linear map of patches, and positions added to it (diffusers' `PatchEmbed`).

    Positions come from the centre of a square table. It lies in a checkpoint as a buffer and so among the parameters,
    but nothing trains it: no gradient reaches it.

    Attributes:
      width: of every token.
      patch_size: rows and columns of a patch.
      table_size: rows and columns of the table, in patches; None: no positions.
      base_size: of the grid whose positions in a fresh table count up by one.
      birth: of the linear map, see `Conv`.
      dtype: compute dtype.
    """

    width: int
    patch_size: int
    table_size: int | None = None
    base_size: int = 1
    birth: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, positions: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """Embed the patches of x.

        Args:
          x: (n, h, w, c), h and w multiples of the patch size.
          positions: (n or 1, h / patch, w / patch, width), to add them in place of the table's, of which there is no
            need then.

        Returns:
          (n, h / patch, w / patch, width) in the compute dtype, and the positions that were added to it, if any.
        Raises:
          ValueError: a size that does not divide into patches, or is larger than the table.
        """
        rows, columns = grid_size(x.shape[1:3], self.patch_size)
        conv = {"kernel_size": self.patch_size, "stride": self.patch_size, "padding": 0}
        embedded = Conv(self.width, **conv, birth=self.birth, dtype=self.dtype, name="proj")(x)
        if self.table_size is None:
            return embedded, None
        if positions is None:
            positions = self._from_table(rows, columns)
        return (embedded + positions).astype(self.dtype), positions

    def _from_table(self, rows: int, columns: int) -> jax.Array:
        size = self.table_size
        if max(rows, columns) > size:
            raise ValueError(
                f"latents of {rows} x {columns} patches are too large: the table of positions, pos_embed_max_size, has "
                f"{size} x {size}."
            )
        table = self.param("pos_embed", _fresh_table, self.width, size, self.base_size)
        top, left = (size - rows) // 2, (size - columns) // 2
        table = jax.lax.stop_gradient(table).reshape(1, size, size, self.width)
        return table[:, top : top + rows, left : left + columns]


def _fresh_table(key: jax.Array, width: int, size: int, base_size: int) -> jax.Array:
    """(1, size * size, width): sines and cosines of columns, then of rows (`get_2d_sincos_pos_embed`)."""
    del key
    quarter = width // 4
    frequencies = MAX_PERIOD ** -(jnp.arange(quarter) / quarter)
    angles = (jnp.arange(size) * (base_size / size))[:, None] * frequencies
    line = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    columns, rows = (jnp.broadcast_to(one, (size, size, width // 2)) for one in (line[None], line[:, None]))
    return jnp.concatenate([columns, rows], axis=-1).reshape(1, size * size, width)


def grid_size(size: tuple[int, int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches of latents of a size; raises ValueError where it does not divide."""
    if size[0] % patch_size or size[1] % patch_size:
        raise ValueError(f"latents of {size[0]} x {size[1]} do not divide into patches of {patch_size} x {patch_size}.")
    return size[0] // patch_size, size[1] // patch_size


class TimeTextEmbedding(nn.Module):
    """Embedding of time plus pooled text, in float32 (diffusers' `CombinedTimestepTextProjEmbeddings`)."""

    width: int

    @nn.compact
    def __call__(self, t: jax.Array, pooled: jax.Array) -> jax.Array:
        """t: (n,) network time; pooled: (n, p). Returns (n, width) float32."""
        time = TimestepEmbedding(self.width, name="timestep_embedder")(sinusoidal_embedding(t, TIME_FEATURES))
        return time + TimestepEmbedding(self.width, name="text_embedder")(pooled)


def patch_embedding(config: SD3Config, dtype: jnp.dtype) -> PatchEmbedding:
    """The embedding of noisy latents."""
    base_size = config.sample_size // config.patch_size
    return PatchEmbedding(config.width, config.patch_size, config.table_size, base_size, dtype=dtype)


def joint_blocks(
    config: SD3Config, dtype: jnp.dtype, remat: str, attention: str, *, last_ends: bool
) -> list[JointBlock]:
    """All blocks of a network; `last_ends`: text tokens end in the last.

    Blocks without text have neither a second attention nor norms of queries and keys, whatever the config says (as in
    diffusers).
    """
    with_text = config.joint_attention_dim is not None
    qk_norm, dual_attention = (config.qk_norm, config.dual_attention_layers) if with_text else (None, ())
    recompute = remat == "attention"
    settings = JointBlockSettings(config.num_attention_heads, qk_norm is not None, dtype, attention, recompute)
    block = rematerialised(JointBlock, remat)
    return [
        block(settings, i in dual_attention, last_ends and i + 1 == config.num_layers) for i in range(config.num_layers)
    ]


def check_context(config: SD3Config, context: Mapping[str, jax.Array]) -> None:
    """Refuse text features of the wrong width: they belong to other text encoders."""
    widths = {"tokens": config.joint_attention_dim, "pooled": config.pooled_projection_dim}
    fields = {"tokens": "joint_attention_dim", "pooled": "pooled_projection_dim"}
    for name, width in widths.items():
        if width is not None and context[name].shape[-1] != width:
            raise ValueError(
                f"context {name} has width {context[name].shape[-1]}, but {fields[name]} is {width}: use the text "
                "encoders of the same checkpoint."
            )
