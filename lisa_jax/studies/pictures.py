"""Small pictures of what a study saw and sampled."""

from pathlib import Path

import numpy as np
from PIL import Image

from lisa_jax.files.whole_file import write_whole

COUNT = 16
COLUMNS = 4
MARGIN = 1
# Small pictures are enlarged so many times, without smoothing.
SCALE = 2
ENLARGED_TO = 64


def picture_grid(images: np.ndarray) -> np.ndarray:
    """The first 16 of images uint8 (n, H, W, 3), four in a row with a white pixel between: uint8 (H', W', 3)."""
    images = images[:COUNT]
    if images.shape[1] * SCALE <= ENLARGED_TO:
        images = images.repeat(SCALE, axis=1).repeat(SCALE, axis=2)
    count, height, width, channels = images.shape
    rows = -(-count // COLUMNS)
    grid = np.full((rows, COLUMNS, height + MARGIN, width + MARGIN, channels), 255, np.uint8)
    for index, image in enumerate(images):
        grid[index // COLUMNS, index % COLUMNS, :height, :width] = image
    joined = grid.swapaxes(1, 2).reshape(rows * (height + MARGIN), COLUMNS * (width + MARGIN), channels)
    return joined[:-MARGIN, :-MARGIN]


def write_grid(path: str | Path, images: np.ndarray) -> None:
    """Write `picture_grid` as a PNG; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(picture_grid(images))
    write_whole(path, lambda partial: picture.save(partial, format="PNG", optimize=True))
