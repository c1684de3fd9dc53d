"""Pictures and clips as data URIs, small enough for one page."""

import base64
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_jax.media import image, video_file
from lisa_jax.media.clip import pixels_of
from lisa_jax.media.open_clip import open_clip

# Endings of what a study or a run leaves.
STILL, MOVING = frozenset({".png"}), frozenset({".gif", ".webp"})
# No screen shows more; previews of large pictures are wider.
MAX_WIDTH = 1400
# A page of all pictures stays at a few megabytes: beyond so many pixels in all they lose a little, or a little more.
LOSSLESS_PIXELS = 2_500_000
FINE_PIXELS = 10_000_000
_STILLS = "Clips do not move on this page"


def embed(paths: Iterable[Path]) -> dict[Path, str]:
    """Data URIs of pictures as WebP: without loss where there are few, of quality 90 or 75 where there are many.

    Clips are WebM. Where PyAV is not installed they are the PNG beside them, or else their last frames.

    Raises:
      ValueError: a file is no picture, or no clip.
    """
    paths = dict.fromkeys(paths)
    clips = {path for path in paths if path.suffix in MOVING and stills_alone(paths) is None}
    pictures = {path: _open(path) for path in paths if path not in clips}
    pixels = sum(picture.width * picture.height for picture in pictures.values())
    settings = {"lossless": True} if pixels <= LOSSLESS_PIXELS else {"quality": 90 if pixels <= FINE_PIXELS else 75}
    return {path: _webm(path) if path in clips else _webp(pictures[path], settings) for path in paths}


def stills_alone(paths: Iterable[Path]) -> str | None:
    """Why clips among these files will not move, in a sentence; None where they will, or there are none."""
    if not any(path.suffix in MOVING for path in paths):
        return None
    try:
        video_file.check_webm()
    except video_file.NoVideoError as error:
        return f"{_STILLS}: {error}"
    return None


def _open(path: Path) -> Image.Image:
    sheet = path.with_suffix(".png")
    return _shrunk(Image.fromarray(image.read(sheet) if sheet.is_file() else _clip(path)[0][-1]))


def _clip(path: Path) -> tuple[list[np.ndarray], float]:
    """Frames uint8 (H, W, 3), and how many a second."""
    with open_clip(path, str(path)) as clip:
        return [pixels_of(frame, str(path)) for frame in clip.frames], clip.rate


def _shrunk(picture: Image.Image) -> Image.Image:
    if picture.width <= MAX_WIDTH:
        return picture
    height = round(picture.height * MAX_WIDTH / picture.width)
    return picture.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)


def _webp(picture: Image.Image, settings: Mapping[str, bool | int]) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **settings)
    return _uri("image/webp", buffer.getvalue())


def _webm(path: Path) -> str:
    frames, fps = _clip(path)
    shown = np.stack([np.asarray(_shrunk(Image.fromarray(frame))) for frame in frames])
    return _uri("video/webm", video_file.encoded_webm(shown, fps))


def _uri(kind: str, stored: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(stored).decode()}"
