"""Clips as video files, by PyAV: MP4, WebM, Matroska, MOV and AVI are read, MP4 and WebM are written."""

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lisa_jax.files.whole_file import write_whole
from lisa_jax.media.channels import in_colours
from lisa_jax.media.clip import Clip, Frame
from lisa_jax.media.open_picture import MAX_PIXELS, PictureError
from lisa_jax.parallel.messages import one_line

# FFmpeg reads many more, among them lists of addresses that it would follow.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
# Of each the first that this build of FFmpeg has. Of MP4 they are near what the eye does not tell from the frames; of
# WebM, which is for pages of many clips, small.
_ENCODERS = {
    "mp4": {"libx264": {"crf": "12", "preset": "medium"}, "libopenh264": {"b": "20M"}, "mpeg4": {"qscale": "2"}},
    "webm": {"libvpx-vp9": {"crf": "32", "b": "0", "cpu-used": "4"}, "libvpx": {"crf": "12", "b": "4M"}},
}
# Of rates: 1001 as in 30000/1001.
_DENOMINATOR = 1001


class NoVideoError(ValueError):
    """PyAV is not installed."""


def check_installed() -> None:
    """Raise NoVideoError, with what to do, where PyAV is not installed."""
    if importlib.util.find_spec("av") is None:
        raise NoVideoError("Video files need PyAV, which is not installed: pip install 'lisa_jax[video]'.")


@contextlib.contextmanager
def opened(stored: bytes | Path, where: str) -> Iterator[Clip]:
    """See `open_clip`; raises NoVideoError."""
    av = _av()
    file = io.BytesIO(stored) if isinstance(stored, bytes) else f"file:{stored}"
    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(av.open(file, options={"format_whitelist": _FORMATS}))
        # ValueErrors, OSErrors and others.
        except Exception as error:
            raise _unreadable(where, error) from error
        if not container.streams.video:
            raise PictureError(f"{where}: the file holds no video.")
        stream = container.streams.video[0]
        _check(stream, where)
        # Rows are worked on in parallel already.
        stream.thread_count = 1
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise PictureError(f"{where}: the video does not say its frames a second: encode it again.")
        tick = float(stream.time_base or 0)
        yield Clip(float(rate), tick, stream.frames or None, _frames(container, stream, where))


def write(path: Path, clip: np.ndarray, fps: float) -> None:
    """Write an MP4 of H.264, where this build of FFmpeg has it, of uint8 (F, H, W, 1 to 4).

    Colours are those of BT.709, at half the resolution (yuv420p), as all players take it: an odd last row or column is
    repeated. It has its name only when it is whole.

    Raises:
      NoVideoError: PyAV is not installed.
    """
    av = _av()
    write_whole(path, lambda partial: _encode(av, str(partial), "mp4", in_colours(clip), fps))


def encoded_webm(clip: np.ndarray, fps: float) -> bytes:
    """A WebM of VP9, which browsers play whatever the machine has; clip, colours and errors as those of `write`."""
    buffer = io.BytesIO()
    _encode(_av(), buffer, "webm", in_colours(clip), fps)
    return buffer.getvalue()


def _encode(av: ModuleType, file: str | io.BytesIO, container_format: str, clip: np.ndarray, fps: float) -> None:
    from av.video.reformatter import ColorRange, Colorspace

    name, options = next(found for found in _ENCODERS[container_format].items() if found[0] in av.codecs_available)
    height, width = clip.shape[1:3]
    even = np.pad(clip, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    with av.open(file, "w", format=container_format) as container:
        rate = Fraction(fps).limit_denominator(_DENOMINATOR)
        stream = container.add_stream(name, rate=rate, options=options)
        stream.height, stream.width = even.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
        for frame in even:
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            yuv = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            container.mux(stream.encode(yuv))
        container.mux(stream.encode())


def _check(stream: Any, where: str) -> None:
    if not 0 < stream.width * stream.height <= MAX_PIXELS:
        raise PictureError(f"{where}: the video is {stream.width}x{stream.height}, which is refused.")
    ratio = stream.sample_aspect_ratio
    if ratio not in (None, 0, 1):
        raise PictureError(f"{where}: the video's pixels are not square ({ratio}): scale it to square ones.")


def _frames(container: Any, stream: Any, where: str) -> Iterator[Frame]:
    decoded = container.decode(stream)
    while True:
        try:
            frame = next(decoded, None)
        except Exception as error:
            raise _unreadable(where, error) from error
        if frame is None:
            return
        if frame.is_corrupt:
            raise PictureError(f"{where}: a frame of the video is damaged.")
        yield Frame(frame.time, lambda frame=frame: _pixels(frame))


def _pixels(frame: Any) -> np.ndarray:
    turned = round(frame.rotation / 90) % 4
    return np.rot90(frame.to_ndarray(format="rgb24"), turned)


def _unreadable(where: str, error: Exception) -> PictureError:
    reason = one_line(error, 200) or type(error).__name__
    return PictureError(f"{where}: the video cannot be read ({reason}); MP4, WebM, Matroska, MOV and AVI are.")


def _av() -> ModuleType:
    check_installed()
    import av

    return av
