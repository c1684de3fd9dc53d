"""Small pictures, or clips, of what a study saw and sampled."""

from pathlib import Path

import numpy as np
from PIL import Image

from lisa_jax.evaluation.clips import are_clips
from lisa_jax.files.whole_file import write_whole
from lisa_jax.media.animation import encoded_webp
from lisa_jax.media.video import DEFAULT_FPS

COUNT = 16
COLUMNS = 4
MARGIN = 1
# Small pictures are enlarged so many times, without smoothing.
SCALE = 2
ENLARGED_TO = 64


def picture_grid(examples: np.ndarray) -> np.ndarray:
    """The first 16 of examples uint8 (n, *space, 3), four in a row with a white pixel between: uint8 (*space', 3).

    Of clips (n, F, H, W, 3) it is a clip (F, H', W', 3): each of its frames is a grid of one frame of all.
    """
    examples = examples[:COUNT]
    if examples.shape[-3] * SCALE <= ENLARGED_TO:
        examples = examples.repeat(SCALE, axis=-3).repeat(SCALE, axis=-2)
    count, *frames, height, width, channels = examples.shape
    rows = -(-count // COLUMNS)
    cells = np.full((rows * COLUMNS, *frames, height + MARGIN, width + MARGIN, channels), 255, np.uint8)
    cells[:count, ..., :height, :width, :] = examples
    grid = np.moveaxis(cells, 0, -4).reshape(*frames, rows, COLUMNS, *cells.shape[-3:]).swapaxes(-4, -3)
    joined = grid.reshape(*frames, rows * cells.shape[-3], COLUMNS * cells.shape[-2], channels)
    return joined[..., :-MARGIN, :-MARGIN, :]


def write_grid(folder: Path, name: str, examples: np.ndarray, fps: float | None = None) -> None:
    """Write `picture_grid` of pictures as `<name>.png`, of clips as `<name>.webp`, which moves; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    grid = picture_grid(examples)
    if are_clips(examples):
        stored = encoded_webp(grid, fps or DEFAULT_FPS)
        write_whole(folder / f"{name}.webp", lambda partial: partial.write_bytes(stored))
    else:
        picture = Image.fromarray(grid)
        write_whole(folder / f"{name}.png", lambda partial: picture.save(partial, format="PNG", optimize=True))
