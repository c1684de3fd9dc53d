"""From a row to a clip with its conditions, frame by frame: few frames are in memory at their full size."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from lisa_jax.data.buckets import nearest_bucket
from lisa_jax.data.clip_frames import FrameReader, Picks, picks_of, place_of
from lisa_jax.data.rows import Row, RowError
from lisa_jax.media.channels import RGB
from lisa_jax.media.clip import StoredClip
from lisa_jax.media.medium import Medium
from lisa_jax.media.open_clip import open_clip
from lisa_jax.media.video import VIDEO
from lisa_jax.preparing.images import ConditionedImage, ImageMaker, split_of
from lisa_jax.preparing.report import LONGER


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipMaker(ImageMaker):
    """Makes clips with their conditions from rows of videos, taken from `Row.start` on; frames as `ImageMaker` does.

    Conditions that rows bring are videos of as many frames as the row's own one, of which the same frames are taken;
    those that are computed are of each frame by itself.

    Attributes:
      frames: of a clip.
      fps: frames a second of a clip: frames of a video are taken by their times; those of a folder have no times, and
        are all taken. None: the video's own, over `stride`.
      stride: take every so many-th frame, whatever its time; `fps` only says then what that gives.
    """

    subject: ClassVar[str] = "video"
    medium: ClassVar[Medium] = VIDEO
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

            def source(stored: StoredClip, where: str, channels: int = RGB) -> FrameReader:
                return FrameReader(stack.enter_context(open_clip(stored, where, row.start)), where, channels)

            video = source(row.image, place_of(row.image, row.where) + row.at)
            conditions = {
                name: source(
                    row.conditions[name], f"{row.where}: condition {name!r}{row.at}", self.channels.get(name, RGB)
                )
                for name in self.given
            }
            picks = self.picks(video.clip.rate, video.where)
            numbers = [row.start + number for number in picks.numbers]
            made = self._made_of(video, conditions, numbers, row.caption)
            # Of several clips of a video once, where it ends.
            for condition in conditions.values() if row.last else ():
                _check_as_long(video, condition)
            longer = row.last and video.has(numbers[-1] + math.ceil(picks.step))
        return dataclasses.replace(
            made,
            where=row.where + row.at,
            split=split_of(row, self.test_fraction),
            notes=(LONGER,) if longer else (),
            more_captions=row.more_captions,
            fps=picks.fps,
        )

    def picks(self, rate: float | None, where: str) -> Picks:
        """The frames of a clip of a video of that rate; raises RowError where clips cannot have theirs."""
        picks = picks_of(rate, self.frames, self.fps, self.stride, where)
        if picks.fps is None:
            raise RowError(f"{where}: a folder of frames does not say how many are a second: give --fps.")
        return picks

    def _made_of(
        self, video: FrameReader, conditions: Mapping[str, FrameReader], numbers: Sequence[int], caption: str
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


def check_lengths(length: int, where: str, of_condition: int) -> None:
    """Raise RowError unless a video and its condition, which lies there, have as many frames."""
    if length != of_condition:
        raise RowError(f"{where} has {of_condition} frames, but the video has {length}: make one of each.")


def _check_as_long(video: FrameReader, condition: FrameReader) -> None:
    check_lengths(video.length(), condition.where, condition.length())
