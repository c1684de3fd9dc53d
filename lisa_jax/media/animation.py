"""Clips as animated pictures: GIF, WebP and PNG."""

import contextlib
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lisa_jax.files.regular_file import IrregularFileError, check_regular
from lisa_jax.files.whole_file import write_whole
from lisa_jax.media.channels import in_colours
from lisa_jax.media.clip import Clip, Frame
from lisa_jax.media.open_picture import MAX_PIXELS, PictureError
from lisa_jax.parallel.messages import one_line

_BEGINNINGS = (b"GIF8", b"\x89PNG")
# In which GIF counts, the coarsest of them.
_TICK = 0.01
# What browsers do with frames that say no time of their own.
_DEFAULT_MILLISECONDS = 100


def is_animation(stored: bytes | Path, where: str) -> bool:
    """Whether an encoded clip is a picture, by its first bytes; PictureError where its file cannot be read."""
    if isinstance(stored, Path):
        try:
            check_regular(stored)
            with stored.open("rb") as file:
                stored = file.read(16)
        except IrregularFileError as error:
            raise PictureError(f"{where}: {error}.") from error
        except OSError as error:
            raise PictureError(f"{where}: {str(stored)!r} cannot be read ({error.strerror}).") from error
    return stored.startswith(_BEGINNINGS) or (stored[:4] == b"RIFF" and stored[8:12] == b"WEBP")


@contextlib.contextmanager
def opened(stored: bytes | Path, where: str) -> Iterator[Clip]:
    """See `open_clip`."""
    from PIL import Image

    try:
        picture = Image.open(
            io.BytesIO(stored) if isinstance(stored, bytes) else stored, formats=("GIF", "WEBP", "PNG")
        )
    # Of many kinds for damaged bytes.
    except Exception as error:
        raise _damaged(where, error) from error
    with picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise PictureError(f"{where}: the clip is {picture.width}x{picture.height}, which is refused.")
        milliseconds = _milliseconds(picture, where)
        # Those who write such pictures join frames that are equal, and show them for as long.
        times = [round(shown / min(milliseconds)) for shown in milliseconds]
        frames = _frames(picture, milliseconds, times, where)
        yield Clip(1000 * sum(times) / sum(milliseconds), _TICK, sum(times), frames)


def encoded_gif(clip: np.ndarray, fps: float) -> bytes:
    """A GIF, endlessly repeated, of uint8 (F, H, W, 1 to 4) at so many frames a second; times are of 1/100 s."""
    from PIL import Image

    frames = [Image.fromarray(frame).quantize(256) for frame in in_colours(clip)]
    return _encoded(frames, "GIF", _durations(len(frames), fps, 10), disposal=1, optimize=False)


def encoded_webp(clip: np.ndarray, fps: float) -> bytes:
    """A WebP without loss, endlessly repeated, of uint8 (F, H, W, 1 to 4); times are of 1/1000 s."""
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in in_colours(clip)]
    return _encoded(frames, "WEBP", _durations(len(frames), fps, 1), lossless=True)


def _encoded(frames: list[Any], name: str, durations: list[int], **settings: Any) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(buffer, name, save_all=True, append_images=frames[1:], duration=durations, loop=0, **settings)
    return buffer.getvalue()


def _durations(count: int, fps: float, tick: int) -> list[int]:
    """Of each frame, in milliseconds that are whole ticks, so that the rate is kept over all of them."""
    ends = [round(1000 / tick * number / fps) for number in range(count + 1)]
    return [tick * (end - start) for start, end in itertools.pairwise(ends)]


def write(path: Path, clip: np.ndarray, fps: float) -> None:
    """Write `encoded_gif`; it has its name only when it is whole."""
    write_whole(path, lambda partial: partial.write_bytes(encoded_gif(clip, fps)))


def _milliseconds(picture: Any, where: str) -> list[float]:
    """How long each frame is shown."""
    try:
        found = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            # WebP says it of a frame that is decoded.
            picture.load()
            found.append(picture.info.get("duration", 0) or _DEFAULT_MILLISECONDS)
    except Exception as error:
        raise _damaged(where, error) from error
    return found


def _frames(picture: Any, milliseconds: list[float], times: list[int], where: str) -> Iterator[Frame]:
    start = 0.0
    for number, (shown, count) in enumerate(zip(milliseconds, times, strict=True)):
        try:
            picture.seek(number)
            picture.load()
            # With opacity only where something is not opaque, which lies on white then, as that of pictures does.
            array = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
        except Exception as error:
            raise _damaged(where, error) from error
        for repeat in range(count):
            yield Frame((start + repeat * shown / count) / 1000, lambda array=array: array)
        start += shown


def _damaged(where: str, error: Exception) -> PictureError:
    return PictureError(f"{where}: the clip is damaged ({one_line(error, 200) or type(error).__name__}).")
