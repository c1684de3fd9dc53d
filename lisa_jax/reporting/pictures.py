"""PNGs as data URIs, small enough for one page."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from lisa_jax.media import image

# No screen shows more; previews of large pictures are wider.
MAX_WIDTH = 1400
# A page of all pictures stays at a few megabytes: beyond so many pixels in all they lose a little, or a little more.
LOSSLESS_PIXELS = 2_500_000
FINE_PIXELS = 10_000_000


def embed(paths: list[Path]) -> dict[Path, str]:
    """Data URIs of pictures as WebP: without loss where there are few, of quality 90 or 75 where there are many.

    Raises:
      ValueError: a file is no picture.
    """
    pictures = {path: _open(path) for path in dict.fromkeys(paths)}
    pixels = sum(picture.width * picture.height for picture in pictures.values())
    settings = {"lossless": True} if pixels <= LOSSLESS_PIXELS else {"quality": 90 if pixels <= FINE_PIXELS else 75}
    return {path: _encode(picture, settings) for path, picture in pictures.items()}


def _open(path: Path) -> Image.Image:
    picture = Image.fromarray(image.read(path))
    if picture.width > MAX_WIDTH:
        height = round(picture.height * MAX_WIDTH / picture.width)
        picture = picture.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    return picture


def _encode(picture: Image.Image, settings: Mapping[str, bool | int]) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **settings)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
