"""Clips as video files, by PyAV: MP4, WebM, Matroska, MOV and AVI are read, MP4 and WebM are written."""

import contextlib
import importlib.util
import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from lisa_jax.files.whole_file import write_whole
from lisa_jax.media.channels import in_colours
from lisa_jax.media.clip import Clip, Frame
from lisa_jax.media.decode import Picture
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
    """PyAV is not installed, or its FFmpeg cannot write a format."""


def check_installed() -> None:
    """Raise NoVideoError, with what to do, where PyAV is not installed."""
    if importlib.util.find_spec("av") is None:
        raise NoVideoError("Video files need PyAV, which is not installed: pip install 'lisa_jax[video]'.")


def check_webm() -> None:
    """Raise NoVideoError where WebM cannot be written."""
    _encoder(_av(), "webm")


@contextlib.contextmanager
def opened(stored: bytes | Path, where: str, start: int = 0) -> Iterator[Clip]:
    """See `open_clip`; raises NoVideoError."""
    with _opened(stored, where) as (container, stream, clip):
        first, decoded = 0, _decoded(container, stream, where)
        if start:
            first, decoded = _decoded_from(container, stream, clip.rate, start, where)
        yield clip._replace(frames=_frames(decoded, where), first=first)


@contextlib.contextmanager
def opened_packets(stored: bytes | Path, where: str) -> Iterator[Clip]:
    """The times alone of all frames, in order, as of frames that cannot be read; errors as `opened`."""
    with _opened(stored, where) as (container, stream, clip):
        try:
            packets = (packet for packet in container.demux(stream) if packet.size and not packet.is_discard)
            times = sorted(float(packet.pts * packet.time_base) for packet in packets)
        except Exception as error:
            raise _unreadable(where, error) from error
        yield clip._replace(frames=(Frame(time, _no_pixels) for time in times))


@contextlib.contextmanager
def _opened(stored: bytes | Path, where: str) -> Iterator[tuple[Any, Any, Clip]]:
    """A file, its video and what it says of it, as yet without frames."""
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
        yield container, stream, Clip(float(rate), float(stream.time_base or 0), stream.frames or None, iter(()))


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
    """A WebM of VP9, which browsers play whatever the machine has; clip, colours and errors as those of `write`.

    Also NoVideoError where this build of FFmpeg writes none.
    """
    buffer = io.BytesIO()
    _encode(_av(), buffer, "webm", in_colours(clip), fps)
    return buffer.getvalue()


def _encode(av: ModuleType, file: str | io.BytesIO, container_format: str, clip: np.ndarray, fps: float) -> None:
    from av.video.reformatter import ColorRange, Colorspace

    name, options = _encoder(av, container_format)
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


def _encoder(av: ModuleType, container_format: str) -> tuple[str, dict[str, str]]:
    encoders = _ENCODERS[container_format]
    for found in encoders.items():
        if found[0] in av.codecs_available:
            return found
    raise NoVideoError(f"This build of FFmpeg has none of {', '.join(encoders)}: pip install 'lisa_jax[video]' anew.")


def _check(stream: Any, where: str) -> None:
    if not 0 < stream.width * stream.height <= MAX_PIXELS:
        raise PictureError(f"{where}: the video is {stream.width}x{stream.height}, which is refused.")
    ratio = stream.sample_aspect_ratio
    if ratio not in (None, 0, 1):
        raise PictureError(f"{where}: the video's pixels are not square ({ratio}): scale it to square ones.")


def _decoded_from(container: Any, stream: Any, rate: float, start: int, where: str) -> tuple[int, Iterator[Any]]:
    """The number of a frame and the frames from it on: that asked for where its time leads there, else the first."""
    beginning = next(_decoded(container, stream, where), None)

    def number_of(frame: Any) -> int:
        return -1 if frame.time is None else round((frame.time - beginning.time) * rate)

    if beginning is not None and beginning.time is not None:
        _seek(container, stream, round((beginning.time + start / rate) / stream.time_base), where)
        # What is before may need frames that were not decoded.
        found = itertools.dropwhile(lambda frame: number_of(frame) < start, _decoded(container, stream, where))
        frame = next(found, None)
        if frame is not None and number_of(frame) == start:
            return start, itertools.chain([frame], found)
    _seek(container, stream, stream.start_time or 0, where)
    return 0, _decoded(container, stream, where)


def _seek(container: Any, stream: Any, time: int, where: str) -> None:
    """To the last frame up to a time that can be decoded by itself."""
    try:
        container.seek(time, stream=stream)
    except Exception as error:
        raise _unreadable(where, error) from error


def _decoded(container: Any, stream: Any, where: str) -> Iterator[Any]:
    decoded = container.decode(stream)
    while True:
        try:
            frame = next(decoded, None)
        except Exception as error:
            raise _unreadable(where, error) from error
        if frame is None:
            return
        yield frame


def _frames(decoded: Iterator[Any], where: str) -> Iterator[Frame]:
    for frame in decoded:
        if frame.is_corrupt:
            raise PictureError(f"{where}: a frame of the video is damaged.")
        yield Frame(frame.time, lambda frame=frame: _pixels(frame))


def _no_pixels() -> Picture:
    raise RuntimeError("times alone were read")


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
