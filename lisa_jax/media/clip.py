"""What a clip is, stored and open, whatever file holds it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lisa_jax.media.decode import Picture, decode_picture

# A video file or an animated picture, encoded or by its path; or the files of its frames, in order.
StoredClip = bytes | Path | Sequence[Path]

# Endings of files that are clips; their content is what counts once they are opened.
SUFFIXES = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif")
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class Frame(NamedTuple):
    """A frame that is decoded already, or cheap to decode.

    Attributes:
      time: seconds at which it is shown; None where frames have no times.
      stored: gives what `decode_picture` takes.
    """

    time: float | None
    stored: Callable[[], Picture | Path]


class Clip(NamedTuple):
    """An open clip.

    Attributes:
      rate: frames a second, the same throughout; None where frames have no times.
      tick: seconds to which the times of frames are rounded.
      count: how many frames it says that it has; None where that shows at its end.
      frames: each once, in order; read while the clip is open.
      first: number of the first of those.
    """

    rate: float | None
    tick: float
    count: int | None
    frames: Iterator[Frame]
    first: int = 0


def pixels_of(frame: Frame, where: str, channels: int = 3) -> np.ndarray:
    """A frame, uint8 (H, W, channels); raises PictureError as `decode_picture`, and names its file, if any."""
    stored = frame.stored()
    return decode_picture(stored, f"{where}: {stored.name}" if isinstance(stored, Path) else where, channels)
