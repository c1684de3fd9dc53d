"""Labelled grids of pictures."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lisa_jax.media.channels import in_colours

if TYPE_CHECKING:
    from PIL import ImageFont

MARGIN = 4
SMALLEST_TEXT = 8


def labelled_grid(
    columns: Mapping[str, Sequence[np.ndarray]], cell: int = 128, blocks: int = 1, captions: Sequence[str] = ()
) -> np.ndarray:
    """Lay rows of pictures out with one label over each column.

    Args:
      columns: label -> n pictures uint8 (H, W, channels) of any sizes, shown as `in_colours` does; one row an example.
      cell: longer side of a picture in the grid; small ones are enlarged without smoothing.
      blocks: how many rows of examples stand side by side, so that many examples make a square grid.
      captions: one for each row, below it on one line, cut where the row ends; or none.

    Returns:
      uint8 (H, W, 3).
    """
    # Imported here for the reason that `media.image` gives.
    from PIL import Image, ImageDraw

    labels = list(columns)
    count = len(columns[labels[0]])
    rows = -(-count // blocks)
    header, line = cell // 5, cell // 6 if captions else 0
    pitch = cell + line + MARGIN
    block_width = len(labels) * (cell + MARGIN) + 2 * MARGIN
    size = (blocks * block_width - MARGIN, header + rows * pitch + MARGIN)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for block in range(blocks):
        for column, label in enumerate(labels):
            left = block * block_width + MARGIN + column * (cell + MARGIN)
            draw.text((left + cell / 2, header / 2), label, fill="black", font=_font(label, cell), anchor="mm")
            for row, index in enumerate(range(block * rows, min((block + 1) * rows, count))):
                picture = Image.fromarray(in_colours(columns[label][index]))
                width, height = (max(1, round(cell * side / max(picture.size))) for side in picture.size)
                corner = (left + (cell - width) // 2, header + row * pitch + (cell - height) // 2)
                canvas.paste(picture.resize((width, height), Image.Resampling.NEAREST), corner)
        for row, caption in enumerate(captions[block * rows : (block + 1) * rows]):
            place = (block * block_width + MARGIN, header + row * pitch + cell + line / 2)
            text, font = _cut(caption, block_width - 3 * MARGIN, cell)
            draw.text(place, text, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)


def _font(label: str, cell: int) -> ImageFont.FreeTypeFont:
    """As large as looks well, or smaller so that a label stays within its column."""
    from PIL import ImageFont

    size = max(10, cell // 8)
    while size > SMALLEST_TEXT and ImageFont.load_default(size).getlength(label) > cell:
        size -= 1
    return ImageFont.load_default(size)


def _cut(caption: str, width: int, cell: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """A caption on one line that is no wider than this, and its font."""
    from PIL import ImageFont

    font, text = ImageFont.load_default(max(SMALLEST_TEXT, cell // 11)), " ".join(caption.split())
    # Letters are a pixel wide at least: what is far too long need not be measured.
    if len(text) <= width and font.getlength(text) <= width:
        return text, font
    lengths = range(min(len(text), width))
    fitting = bisect.bisect_right(lengths, width, key=lambda length: font.getlength(f"{text[:length]}..."))
    return f"{text[: max(fitting - 1, 0)]}...", font
