"""The families of the shared suite, each as small as it can be. A family that is registered has to stand here, too."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from lisa_jax.families import registry, stable_diffusion, stable_diffusion_3, stable_diffusion_3_presets
from lisa_jax.families.family import Setup
from lisa_jax.families.stable_diffusion_presets import PRESETS
from toys.video import family as video

# What is registered, and a toy of another shape.
FAMILIES: Mapping[str, Callable] = {**registry.FAMILIES, video.CLASS_NAME: video.read_architecture}
FLOAT32 = {"frozen_dtype": "float32", "compute_dtype": "float32"}


@dataclasses.dataclass(frozen=True)
class Member:
    """What the suite must be told of a family; the rest it asks the family itself.

    Attributes:
      write: writes a checkpoint into a folder.
      setup: with one condition or more, in float32.
      size: of an example.
      hooks: two features to align.
    """

    write: Callable[[Path], None]
    setup: Setup
    size: tuple[int, ...]
    hooks: tuple[str, str]


def write_stable_diffusion(folder: Path) -> None:
    """A UNet of one level of one layer; its mid block reads the context."""
    tiny = PRESETS["tiny_sd21_v"]
    unet = dataclasses.replace(
        tiny.unet,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=8,
    )
    levels = {"block_out_channels": (4, 4), "down_block_types": tiny.vae.down_block_types[:2]}
    vae = dataclasses.replace(tiny.vae, up_block_types=tiny.vae.up_block_types[:2], norm_num_groups=2, **levels)
    text = dataclasses.replace(
        tiny.text,
        vocab_size=600,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
    )
    dataclasses.replace(tiny, unet=unet, vae=vae, text=text).write(folder, seed=0)


def write_stable_diffusion_3(folder: Path) -> None:
    """A transformer of four blocks, two of which a side network copies."""
    tiny = stable_diffusion_3_presets.PRESETS["tiny_sd3_medium"]
    width = {"attention_head_dim": 8, "num_attention_heads": 2, "caption_projection_dim": 16}
    transformer = dataclasses.replace(tiny.transformer, **width)
    levels = {"block_out_channels": (4, 4), "down_block_types": tiny.vae.down_block_types[:2]}
    vae = dataclasses.replace(tiny.vae, up_block_types=tiny.vae.up_block_types[:2], norm_num_groups=2, **levels)
    clip = tuple(
        dataclasses.replace(config, vocab_size=600, num_hidden_layers=1, max_position_embeddings=8)
        for config in tiny.clip
    )
    dataclasses.replace(tiny, transformer=transformer, vae=vae, clip=clip).write(folder, seed=0)


# By the function that reads the architecture of a checkpoint, for several class names may share one.
MEMBERS: Mapping[Callable, Member] = {
    stable_diffusion.read_architecture: Member(
        write_stable_diffusion, Setup(("pose",), (4, 8), **FLOAT32), (16, 16), ("down_1", "mid")
    ),
    stable_diffusion_3.read_architecture: Member(
        write_stable_diffusion_3, Setup(("pose",), **FLOAT32), (16, 16), ("block_0", "block_1")
    ),
    video.read_architecture: Member(
        video.write_checkpoint, Setup(("pose", "seg"), **FLOAT32), (4, 8, 8), ("blocks_0", "blocks_1")
    ),
}


def without_member(families: Mapping[str, Callable]) -> list[str]:
    """Class names of families that are not in the suite."""
    return [class_name for class_name, read in families.items() if read not in MEMBERS]
