"""PNGs as data URIs, small enough for one page."""

import base64
import io
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# No screen shows more; previews of large pictures are wider.
MAX_WIDTH = 1400
# A page of all pictures stays under a few megabytes: beyond this many pixels in all, they lose a little.
LOSSLESS_PIXELS = 2_500_000


def embed(paths: list[Path]) -> dict[Path, str]:
    """Data URIs of pictures as WebP: without loss where there are few, of quality 90 where there are many.

    Raises:
      ValueError: a file is no picture.
    """
    pictures = {path: _open(path) for path in dict.fromkeys(paths)}
    lossless = sum(picture.width * picture.height for picture in pictures.values()) <= LOSSLESS_PIXELS
    return {path: _encode(picture, lossless) for path, picture in pictures.items()}


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}.") from error
    if picture.width > MAX_WIDTH:
        height = round(picture.height * MAX_WIDTH / picture.width)
        picture = picture.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    return picture


def _encode(picture: Image.Image, lossless: bool) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=lossless, quality=90)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
