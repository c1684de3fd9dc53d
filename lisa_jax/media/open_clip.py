"""The one place where stored clips are opened: video files, animated pictures and folders of frames, frame by frame."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lisa_jax.media import animation, frame_files, video_file
from lisa_jax.media.clip import Clip, Frame, StoredClip, pixels_of
from lisa_jax.media.open_picture import PictureError

# Share of a frame's time by which it may be shown for longer or shorter than others; a frame left out is a whole one.
_UNSTEADY = 0.25


@contextlib.contextmanager
def open_clip(stored: StoredClip, where: str, start: int = 0) -> Iterator[Clip]:
    """Open a clip, by its content and whatever its name, for as long as the context lasts.

    Frames are decoded as they are asked for. Videos are turned as they say; of several streams the first counts; sound
    is left out.

    Args:
      stored: an encoded clip, a file or a folder of frames, or the files of its frames in order.
      where: the file and the row, for the error messages, which frames raise too.
      start: number of the first frame that is needed: those before it may be left out, where that saves decoding them.

    Raises:
      PictureError: it is none, damaged, or no regular file; its pixels are not square; its frames are not shown for
        equally long; or it is a video file, and PyAV is not installed.
    """
    if isinstance(stored, Path) and stored.is_dir():
        stored = frame_files.frames_of(stored, where)
    if not isinstance(stored, bytes | Path):
        yield frame_files.opened(stored, start)
        return
    with (
        animation.opened(stored, where)
        if animation.is_animation(stored, where)
        else video_file.opened(stored, where, start)
    ) as clip:
        yield clip._replace(frames=_steady(clip, where))


def rate_and_length(stored: StoredClip, where: str) -> tuple[float | None, int]:
    """Frames a second, as of `Clip`, and how many frames there are, none of which is decoded.

    Raises:
      PictureError: as of `open_clip`; of video files also where the rate that they say is not that of all their frames.
    """
    if isinstance(stored, Path) and stored.is_dir():
        stored = frame_files.frames_of(stored, where)
    if not isinstance(stored, bytes | Path):
        return None, len(stored)
    if animation.is_animation(stored, where):
        with animation.opened(stored, where) as clip:
            return clip.rate, clip.count
    with video_file.opened_packets(stored, where) as clip:
        times = [frame.time for frame in _steady(clip, where)]
    if times and abs((times[-1] - times[0]) * clip.rate - (len(times) - 1)) > max(_UNSTEADY, clip.rate * clip.tick):
        raise PictureError(
            f"{where}: {len(times)} frames take {times[-1] - times[0]:.3f} s, but it says {clip.rate:g} a second: the "
            "frame rate varies; encode it with a constant one (ffmpeg -fps_mode cfr)."
        )
    return clip.rate, len(times)


def read_clip(stored: StoredClip, where: str, channels: int = 3) -> np.ndarray:
    """All frames, uint8 (F, H, W, channels); raises PictureError as `open_clip` and `decode_picture`."""
    with open_clip(stored, where) as clip:
        frames = [pixels_of(frame, where, channels) for frame in clip.frames]
    if len({frame.shape for frame in frames}) != 1:
        raise PictureError(f"{where}: the clip has no frames, or frames of several sizes.")
    return np.stack(frames)


def _steady(clip: Clip, where: str) -> Iterator[Frame]:
    """The frames; PictureError at the first that comes later or sooner than the clip's rate has it."""
    allowed = max(_UNSTEADY / clip.rate, 1.01 * clip.tick)
    before = None
    for number, frame in enumerate(clip.frames):
        if before is not None and frame.time is not None and abs(frame.time - before - 1 / clip.rate) > allowed:
            raise PictureError(
                f"{where}: frame {number} comes {frame.time - before:.3f} s after the one before, but at {clip.rate:g} "
                f"frames a second it would be {1 / clip.rate:.3f} s: the frame rate varies; encode it with a constant "
                "one (ffmpeg -fps_mode cfr)."
            )
        before = frame.time
        yield frame
