"""Labelled grids of pictures."""

from collections.abc import Mapping, Sequence

import numpy as np

MARGIN = 4


def labelled_grid(columns: Mapping[str, Sequence[np.ndarray]], cell: int = 128, blocks: int = 1) -> np.ndarray:
    """Lay rows of pictures out with one label over each column.

    Args:
      columns: label -> n pictures uint8 (H, W, 3) of any sizes; one row an example.
      cell: longer side of a picture in the grid; small ones are enlarged without smoothing.
      blocks: how many rows of examples stand side by side, so that many examples make a square grid.

    Returns:
      uint8 (H, W, 3).
    """
    # Imported here for the reason that `media.image` gives.
    from PIL import Image, ImageDraw, ImageFont

    labels = list(columns)
    count = len(columns[labels[0]])
    rows = -(-count // blocks)
    font = ImageFont.load_default(max(10, cell // 8))
    header = cell // 5
    block_width = len(labels) * (cell + MARGIN) + 2 * MARGIN
    size = (blocks * block_width - MARGIN, header + rows * (cell + MARGIN) + MARGIN)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for block in range(blocks):
        for column, label in enumerate(labels):
            left = block * block_width + MARGIN + column * (cell + MARGIN)
            draw.text((left + cell / 2, header / 2), label, fill="black", font=font, anchor="mm")
            for row, index in enumerate(range(block * rows, min((block + 1) * rows, count))):
                picture = Image.fromarray(columns[label][index])
                width, height = (max(1, round(cell * side / max(picture.size))) for side in picture.size)
                corner = (left + (cell - width) // 2, header + row * (cell + MARGIN) + (cell - height) // 2)
                canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), corner)
    return np.asarray(canvas)
