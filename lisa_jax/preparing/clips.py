"""From a row to a clip with its conditions, frame by frame: few frames are in memory at their full size."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from lisa_jax.data.buckets import Size, nearest_bucket
from lisa_jax.data.rows import Row, RowError
from lisa_jax.media.channels import RGB
from lisa_jax.media.clip import Clip, StoredClip, open_clip, pixels_of
from lisa_jax.media.video import VIDEO
from lisa_jax.preparing.images import ConditionedImage, ImageMaker, split_of
from lisa_jax.preparing.report import LONGER

# Rounding of rates, which files keep as fractions.
_SAME_RATE = 1e-3


class Picks(NamedTuple):
    """Which frames of a video make up a clip.

    Attributes:
      numbers: of the frames, ascending.
      step: how many frames of the video one of the clip is apart from the next, on average.
      fps: frames a second of the clip.
    """

    numbers: tuple[int, ...]
    step: float
    fps: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipMaker(ImageMaker):
    """Makes clips with their conditions from rows of videos, whose beginning is taken; frames as `ImageMaker` does.

    Conditions that rows bring are videos of as many frames as the row's own one, of which the same frames are taken;
    those that are computed are of each frame by itself.

    Attributes:
      frames: of a clip.
      fps: frames a second of a clip: frames of a video are taken by their times; those of a folder have no times, and
        are all taken. None: the video's own, over `stride`.
      stride: take every so many-th frame, whatever its time; `fps` only says then what that gives.
    """

    subject: ClassVar[str] = "video"
    unit: ClassVar[str] = "clip"
    axes: ClassVar[int] = VIDEO.axes
    frames: int
    fps: float | None = None
    stride: int | None = None

    @property
    def example_sizes(self) -> tuple[tuple[int, ...], ...]:
        """(F, H, W) of clips, one for each of `sizes`."""
        return tuple((self.frames, *size) for size in self.sizes)

    def __call__(self, row: Row) -> ConditionedImage:
        """Raises RowError or PictureError for a row that cannot be used."""
        with contextlib.ExitStack() as stack:

            def source(stored: StoredClip, where: str, channels: int = RGB) -> _Source:
                return _Source(stack.enter_context(open_clip(stored, where)), where, channels)

            video = source(row.image, _where(row.image, row.where))
            conditions = {
                name: source(row.conditions[name], f"{row.where}: condition {name!r}", self.channels.get(name, RGB))
                for name in self.given
            }
            picks = self._picks(video)
            made = self._made_of(video, conditions, picks.numbers, row.caption)
            for condition in conditions.values():
                _check_as_long(video, condition)
            longer = video.has(picks.numbers[-1] + math.ceil(picks.step))
        return dataclasses.replace(
            made,
            where=row.where,
            split=split_of(row, self.test_fraction),
            notes=(LONGER,) if longer else (),
            more_captions=row.more_captions,
            fps=picks.fps,
        )

    def _picks(self, video: "_Source") -> Picks:
        rate = video.clip.rate
        if self.stride is None and self.fps is not None and rate is not None:
            step = rate / self.fps
            if step < 1 - _SAME_RATE:
                raise RowError(f"{video.where}: the video has {rate:g} frames a second, fewer than --fps={self.fps:g}.")
            step = max(step, 1.0)
            return Picks(tuple(round(number * step) for number in range(self.frames)), step, self.fps)
        step = self.stride or 1
        if self.fps is None and rate is None:
            raise RowError(f"{video.where}: a folder of frames does not say how many are a second: give --fps.")
        return Picks(tuple(range(0, self.frames * step, step)), step, self.fps or rate / step)

    def _made_of(
        self, video: "_Source", conditions: Mapping[str, "_Source"], numbers: Sequence[int], caption: str
    ) -> ConditionedImage:
        size, image, made = None, None, {}
        taken = zip(*(source.taken(numbers) for source in (video, *conditions.values())), strict=False)
        count = 0
        for count, (frame, *others) in enumerate(taken, 1):
            size = size or nearest_bucket(*frame.shape[:2], self.sizes)
            fitted = self.fitted(frame, dict(zip(conditions, others, strict=True)), size, caption, video.where)
            if image is None:
                image = np.empty((self.frames, *fitted.image.shape), np.uint8)
                made = {n: np.empty((self.frames, *one.shape), np.uint8) for n, one in fitted.conditions.items()}
            image[count - 1] = fitted.image
            for name, condition in fitted.conditions.items():
                made[name][count - 1] = condition
        if count < self.frames:
            for condition in conditions.values():
                _check_as_long(video, condition)
            raise RowError(
                f"{video.where}: the video has {video.length()} frames, but a clip of {self.frames} takes the first "
                f"{numbers[-1] + 1}."
            )
        index = self.sizes.index(size)
        return ConditionedImage(video.where, "", index, image, made, caption, video.size, fitted.crop)


class _Source:
    """A video that is read from its first frame on, once."""

    def __init__(self, clip: Clip, where: str, channels: int):
        self.clip = clip
        self.where = where
        self.size: Size | None = None
        self._channels = channels
        self._seen = 0

    def taken(self, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        """The frames of these numbers, uint8 (h, w, channels), as far as there are any."""
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


def _check_as_long(video: _Source, condition: _Source) -> None:
    if video.length() != condition.length():
        raise RowError(
            f"{condition.where} has {condition.length()} frames, but the video has {video.length()}: make one of each."
        )


def _where(stored: StoredClip, where: str) -> str:
    """The row, and the file or folder that it names, for messages."""
    if isinstance(stored, bytes):
        return where
    name = stored.name if isinstance(stored, Path) else stored[0].parent.name
    return where if where == name else f"{where}: {name}"
