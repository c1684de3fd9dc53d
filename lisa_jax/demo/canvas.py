"""A canvas that looks like the conditions a side network was trained on."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

# Pixels of the longer side: large enough to draw on, whatever size is sampled.
LONGER_SIDE = 448
# Radius of the brush, in pixels of training.
RADIUS = 0.6


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Where conditions are drawn.

    Attributes:
      size: (height, width) in pixels, of the aspect ratio of training.
      ground: colour of every channel, 0 to 255.
      stroke: of the brush, as CSS.
      radius: of the brush in pixels.
    """

    size: tuple[int, int]
    ground: int
    stroke: str
    radius: int

    def empty(self) -> np.ndarray:
        """Nothing drawn yet, uint8 (H, W, 3)."""
        return np.full((*self.size, 3), self.ground, np.uint8)

    def shows_nothing(self, drawn: np.ndarray) -> bool:
        """Whether a drawing, uint8 (H, W, 3), is all ground."""
        return bool((drawn == self.ground).all())

    @property
    def words(self) -> str:
        """Strokes and ground in words."""
        return "black on white" if self.ground else "white on black"


def canvas_for(trained: tuple[int, int], example: np.ndarray | None) -> Canvas:
    """A canvas for a condition.

    Args:
      trained: (height, width) of the examples in training.
      example: one of the conditions as it is shown, uint8 (H, W, 3): its rim says what the ground is. Without one it is
        black, as of lines, edges, poses and scribbles of ControlNets.
    """
    scale = LONGER_SIDE / max(trained)
    rim = 0 if example is None else np.median(np.concatenate([*example[[0, -1]], *example[:, [0, -1]].swapaxes(0, 1)]))
    ground = 255 if rim > 127 else 0
    size = tuple(round(side * scale) for side in trained)
    return Canvas(size, ground, "#000000" if ground else "#ffffff", max(2, round(RADIUS * scale)))


def write_drawing(folder: Path, name: str, drawn: np.ndarray) -> Path:
    """Keep a drawing, uint8 (H, W, 3), as the file that a request names; it is opaque, for who reads its opacity."""
    file = folder / f"{name}.png"
    Image.fromarray(drawn).convert("RGBA").save(file)
    return file
