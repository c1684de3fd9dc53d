"""A canvas that looks like the conditions a side network was trained on."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_jax.media.channels import WITH_OPACITY

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
      transparent: whether the ground is, for who reads opacity; strokes are opaque.
    """

    size: tuple[int, int]
    ground: int
    stroke: str
    radius: int
    transparent: bool = False

    def empty(self) -> np.ndarray:
        """Nothing drawn yet, uint8 (H, W, 3)."""
        return np.full((*self.size, 3), self.ground, np.uint8)

    def shows_nothing(self, drawn: np.ndarray) -> bool:
        """Whether a drawing, uint8 (H, W, 3), is all ground."""
        return bool((drawn == self.ground).all())

    def with_opacity(self, drawn: np.ndarray) -> np.ndarray:
        """A drawing, uint8 (H, W, 3), with its opacity, uint8 (H, W, 4)."""
        clear = self.transparent & (drawn == self.ground).all(axis=-1, keepdims=True)
        return np.concatenate([drawn, np.where(clear, 0, 255).astype(np.uint8)], axis=-1)

    @property
    def words(self) -> str:
        """Strokes and ground in words."""
        colours = "black on white" if self.ground else "white on black"
        return f"{colours}, which is transparent" if self.transparent else colours


def canvas_for(trained: tuple[int, int], example: np.ndarray | None) -> Canvas:
    """A canvas for a condition.

    Args:
      trained: (height, width) of the examples in training.
      example: one of the conditions, uint8 (H, W, 1 to 4): its rim says what the ground is. Without one it is black, as
        of lines, edges, poses and scribbles of ControlNets.
    """
    scale = LONGER_SIDE / max(trained)
    rim = np.zeros((1, 3), np.uint8) if example is None else _rim(example)
    has_opacity = rim.shape[-1] in WITH_OPACITY
    transparent = has_opacity and np.median(rim[:, -1]) <= 127
    ground = 255 if np.median(rim[:, :-1] if has_opacity else rim) > 127 else 0
    size = tuple(round(side * scale) for side in trained)
    return Canvas(size, ground, "#000000" if ground else "#ffffff", max(2, round(RADIUS * scale)), bool(transparent))


def _rim(picture: np.ndarray) -> np.ndarray:
    """The outermost pixels of a picture (H, W, c): (n, c)."""
    return np.concatenate([*picture[[0, -1]], *picture[:, [0, -1]].swapaxes(0, 1)])


def write_drawing(folder: Path, name: str, drawn: np.ndarray, canvas: Canvas) -> Path:
    """Keep a drawing, uint8 (H, W, 3), with its opacity, as the file that a request names."""
    file = folder / f"{name}.png"
    Image.fromarray(canvas.with_opacity(drawn)).save(file)
    return file
