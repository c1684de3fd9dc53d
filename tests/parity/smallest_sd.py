"""The smallest Stable Diffusion there is, and a table of pictures to train it on: for tests of whole commands."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lisa_jax.families.presets import preset_of

SIZE = 64


def write_smallest_base(preset: str, folder: str | Path, **fields: Any) -> None:
    """Write a preset with a UNet of one level of one layer: hooks down_0, down_1 and mid; fields are others of it.

    Compiling is most of the time at these sizes.
    """
    tiny = preset_of(preset)
    heads = tiny.unet.attention_head_dim
    smallest = {
        "block_out_channels": (16,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
        "layers_per_block": 1,
        "transformer_layers_per_block": 1,
        "attention_head_dim": heads if isinstance(heads, int) else heads[:1],
    }
    unet = dataclasses.replace(tiny.unet, **(smallest | fields))
    vae = dataclasses.replace(tiny.vae, block_out_channels=(4, 4, 4, 8), norm_num_groups=4)
    dataclasses.replace(tiny, unet=unet, vae=vae).write(Path(folder), seed=0)


def disk(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of a disk, and the disk in white on black, uint8 (SIZE, SIZE, 3)."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:SIZE, :SIZE]
    centre, radius = rng.integers(16, 48, 2), rng.integers(8, 16)
    inside = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2)[..., None]
    picture = np.where(inside, rng.integers(0, 255, 3), rng.integers(0, 255, 3))
    return picture.astype(np.uint8), np.repeat(255 * inside, 3, axis=-1).astype(np.uint8)


def write_table(path: str | Path, rows: int = 12) -> None:
    """Write a Parquet table of disks as the hubs hold them: columns image, pose_image, seg_image and caption."""
    table = []
    for index in range(rows):
        picture, mask = disk(index)
        pictures = {"image": picture, "pose_image": mask, "seg_image": 255 - mask}
        table.append({name: _cell(value) for name, value in pictures.items()} | {"caption": f"disk {index}"})
    pq.write_table(pa.Table.from_pylist(table), path)


def _cell(picture: np.ndarray) -> dict[str, bytes | None]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}
