"""Which frames of a video make up a clip, and reading them one after the other."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lisa_jax.data.rows import RowError
from lisa_jax.media.channels import RGB
from lisa_jax.media.clip import Clip, StoredClip, pixels_of

# Rounding of rates, which files keep as fractions.
_SAME_RATE = 1e-3


class Picks(NamedTuple):
    """Which frames of a video make up a clip.

    Attributes:
      numbers: of the frames, ascending.
      step: how many frames of the video one of the clip is apart from the next, on average.
      fps: frames a second of the clip; None where that is not known.
    """

    numbers: tuple[int, ...]
    step: float
    fps: float | None


def picks_of(rate: float | None, count: int, fps: float | None, stride: int | None, where: str) -> Picks:
    """The frames of a clip, from the first on.

    Args:
      rate: frames a second of the video; None of a folder of frames, which have no times.
      count: frames of the clip.
      fps: frames a second of the clip: frames are taken by their times, each the nearest; of a folder all. None: the
        video's own, over `stride`.
      stride: take every so many-th frame, whatever its time; `fps` only says then what that gives.
      where: the row and the file, for the error message.

    Raises:
      RowError: the video has fewer frames a second.
    """
    if stride is None and fps is not None and rate is not None:
        step = rate / fps
        if step < 1 - _SAME_RATE:
            raise RowError(f"{where}: the video has {rate:g} frames a second, fewer than --fps={fps:g}.")
        step = max(step, 1.0)
        return Picks(tuple(round(number * step) for number in range(count)), step, fps)
    step = stride or 1
    return Picks(tuple(range(0, count * step, step)), step, fps or (rate and rate / step))


def starts_of(length: int, picks: Picks) -> list[int]:
    """Numbers of the frames at which clips begin that are cut out of a video, one after the other, while it lasts."""
    count, starts = len(picks.numbers), itertools.count()
    begins = (round(clip * count * picks.step) for clip in starts)
    return list(itertools.takewhile(lambda start: start + picks.numbers[-1] < length, begins))


class FrameReader:
    """Reads an open clip from where it was opened on, once.

    Attributes:
      clip: the clip.
      where: the row and the file, for messages.
      size: (height, width) of its frames, once one is read.
    """

    def __init__(self, clip: Clip, where: str, channels: int = RGB):
        self.clip = clip
        self.where = where
        self.size: tuple[int, int] | None = None
        self._channels = channels
        self._seen = clip.first

    def taken(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames of these numbers, ascending, uint8 (h, w, channels), as far as there are any.

        Raises:
          RowError: a frame of another size than the first.
          PictureError: see `open_clip`.
        """
        wanted = iter(numbers)
        number = next(wanted)
        for frame in self.clip.frames:
            self._seen += 1
            if self._seen - 1 == number:
                pixels = pixels_of(frame, self.where, self._channels)
                self.size = self.size or pixels.shape[:2]
                if pixels.shape[:2] != self.size:
                    raise RowError(f"{self.where}: frame {number} is of another size than the first.")
                number = next(wanted, None)
                yield pixels
                if number is None:
                    return

    def has(self, number: int) -> bool:
        """Whether there is a frame of a number; frames up to it are passed over."""
        if self.clip.count is not None:
            return self.clip.count > number
        while self._seen <= number and next(self.clip.frames, None) is not None:
            self._seen += 1
        return self._seen > number

    def length(self) -> int:
        """How many frames there are; all are passed over where the video does not say."""
        if self.clip.count is None:
            self._seen += sum(1 for _ in self.clip.frames)
        return self._seen if self.clip.count is None else self.clip.count


def place_of(stored: StoredClip, where: str) -> str:
    """The row, and the file or folder that it names, for messages."""
    if isinstance(stored, bytes):
        return where
    name = stored.name if isinstance(stored, Path) else stored[0].parent.name
    return where if where == name else f"{where}: {name}"
