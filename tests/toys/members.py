"""The families of the shared suite, each as small as it can be. A family that is registered has to stand here, too."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from lisa_jax.families import (
    registry,
    stable_diffusion,
    stable_diffusion_3,
    stable_diffusion_3_presets,
    stable_diffusion_xl,
    stable_diffusion_xl_presets,
    stable_video_diffusion,
    stable_video_diffusion_presets,
)
from lisa_jax.families.family import Setup
from lisa_jax.families.stable_diffusion_presets import PRESETS
from lisa_jax.models.vae import AutoencoderKLConfig
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
      slow: whether its part of the suite is run by `-m slow` only, for it compiles for minutes.
    """

    write: Callable[[Path], None]
    setup: Setup
    size: tuple[int, ...]
    hooks: tuple[str, str]
    slow: bool = False


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
    text = dataclasses.replace(
        tiny.text,
        vocab_size=600,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
    )
    dataclasses.replace(tiny, unet=unet, vae=two_levels(tiny.vae), text=text).write(folder, seed=0)


def write_stable_diffusion_xl(folder: Path) -> None:
    """The same UNet with a pooled text and time ids."""
    tiny = stable_diffusion_xl_presets.PRESETS["tiny_sdxl"]
    unet = dataclasses.replace(
        tiny.unet,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        transformer_layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    clip = tuple(
        dataclasses.replace(config, vocab_size=600, num_hidden_layers=1, max_position_embeddings=8)
        for config in tiny.clip
    )
    dataclasses.replace(tiny, unet=unet, vae=two_levels(tiny.vae), clip=clip).write(folder, seed=0)


def two_levels(vae: AutoencoderKLConfig) -> AutoencoderKLConfig:
    """The two finest levels of an autoencoder, 4 channels wide."""
    kinds = {"down_block_types": vae.down_block_types[:2], "up_block_types": vae.up_block_types[:2]}
    return dataclasses.replace(vae, block_out_channels=(4, 4), norm_num_groups=2, **kinds)


def write_stable_diffusion_3(folder: Path) -> None:
    """A transformer of four blocks, two of which a side network copies."""
    tiny = stable_diffusion_3_presets.PRESETS["tiny_sd3_medium"]
    width = {"attention_head_dim": 8, "num_attention_heads": 2, "caption_projection_dim": 16}
    transformer = dataclasses.replace(tiny.transformer, **width)
    clip = tuple(
        dataclasses.replace(config, vocab_size=600, num_hidden_layers=1, max_position_embeddings=8)
        for config in tiny.clip
    )
    dataclasses.replace(tiny, transformer=transformer, vae=two_levels(tiny.vae), clip=clip).write(folder, seed=0)


def write_stable_video_diffusion(folder: Path) -> None:
    """A UNet of one level of one layer; its mid block reads the context. Latents are as large as frames."""
    tiny = stable_video_diffusion_presets.PRESETS["tiny_svd"]
    unet = dataclasses.replace(
        tiny.unet,
        block_out_channels=(32,),
        down_block_types=("DownBlockSpatioTemporal",),
        up_block_types=("UpBlockSpatioTemporal",),
        layers_per_block=1,
        num_attention_heads=2,
    )
    vae = dataclasses.replace(tiny.vae, block_out_channels=(32,), down_block_types=tiny.vae.down_block_types[:1])
    encoder = dataclasses.replace(tiny.encoder, num_hidden_layers=1)
    dataclasses.replace(tiny, unet=unet, vae=vae, encoder=encoder).write(folder, seed=0)


# By the function that reads the architecture of a checkpoint, for several class names may share one.
MEMBERS: Mapping[Callable, Member] = {
    stable_diffusion.read_architecture: Member(
        write_stable_diffusion, Setup(("pose",), (4, 8), **FLOAT32), (16, 16), ("down_1", "mid")
    ),
    stable_diffusion_xl.read_architecture: Member(
        write_stable_diffusion_xl, Setup(("pose",), (4, 8), **FLOAT32), (16, 16), ("down_1", "mid")
    ),
    stable_diffusion_3.read_architecture: Member(
        write_stable_diffusion_3, Setup(("pose",), **FLOAT32), (16, 16), ("block_0", "block_1")
    ),
    stable_video_diffusion.read_architecture: Member(
        write_stable_video_diffusion, Setup(("pose",), (4,), **FLOAT32), (2, 4, 4), ("down_1", "mid"), slow=True
    ),
    video.read_architecture: Member(
        video.write_checkpoint, Setup(("pose", "seg"), **FLOAT32), (4, 8, 8), ("blocks_0", "blocks_1")
    ),
}
# Side networks of another kind than a member's own.
KINDS: Mapping[str, Member] = {
    "Control-LoRA": dataclasses.replace(
        MEMBERS[stable_diffusion_xl.read_architecture],
        setup=Setup(("pose",), (4, 8), lora_rank=2, **FLOAT32),
        slow=True,
    )
}


def member_of(name: str) -> Member:
    """The member of a class name or of a kind of side network."""
    return KINDS[name] if name in KINDS else MEMBERS[FAMILIES[name]]


def without_member(families: Mapping[str, Callable]) -> list[str]:
    """Class names of families that are not in the suite."""
    return [class_name for class_name, read in families.items() if read not in MEMBERS]
