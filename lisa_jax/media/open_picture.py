"""Opening encoded pictures of others: which formats, how large, which way up."""

import functools
import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from lisa_jax.files.foreign import foreign_kind
from lisa_jax.files.regular_file import IrregularFileError, read_regular
from lisa_jax.parallel.messages import one_line

# Recognised by content, whatever the name; JPEG with several pictures (MPO) is among JPEG. Pillow reads many more, and
# starts Ghostscript for one of them.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")

# Endings of HEIC, which is told from the content, and how to convert it.
_TOLD = (".heic", ".heif")

# Pillow's own limit for what is no decompression bomb; beyond it Pillow only warns, and here pictures are refused.
MAX_PIXELS = 2**30 // 12
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Of an encoded picture: several are in memory at a time.
MAX_BYTES = 2**27

_LOSSY_FORMATS = ("JPEG", "MPO")


@functools.cache
def endings() -> tuple[str, ...]:
    """Endings of files that are pictures, lower case; their content is what counts once they are opened."""
    return (*(ending for ending, name in Image.registered_extensions().items() if name in FORMATS), *_TOLD)


class PictureError(ValueError):
    """What should be a picture is none that is read; the message begins with its place."""


class Opened(NamedTuple):
    """A decoded picture.

    Attributes:
      picture: its first frame, upright.
      grey: (black, white), where the values are 16 bit numbers of one channel, or fewer bits than that; else None.
      stretch: what Pillow has multiplied grey values of few bits with, so that the greatest one became white.
      inverted: whether Pillow has inverted grey values, because white is stored as 0.
      orientation: of the stored pixels, as EXIF counts them, 1 to 8.
      frames: whether there are further frames.
    """

    picture: Image.Image
    grey: tuple[int, int] | None
    stretch: float
    inverted: bool
    orientation: int
    frames: bool


def open_picture(data: bytes | Path, where: str, lossless: bool = False) -> Opened:
    """Decode the first frame of a picture.

    Args:
      data: an encoded picture, or a file with one.
      where: the file and the row, for the error message.
      lossless: refuse formats that change values.

    Raises:
      PictureError: it is no regular file of at most 134 MB, no picture of a known format, truncated or damaged, or has
        no pixels or more than 89 million.
    """
    if isinstance(data, Path):
        data = _contents(data, where)
    if not isinstance(data, bytes):
        raise PictureError(f"{where}: a picture must be encoded bytes or an array, not {type(data).__name__}.")
    if len(data) > MAX_BYTES:
        raise PictureError(f"{where}: the picture has {len(data):,} bytes, but more than {MAX_BYTES:,} are refused.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            _check_size(picture, where)
            if lossless and picture.format in _LOSSY_FORMATS:
                raise PictureError(
                    f"{where}: a label map must not be stored as {picture.format}, which changes labels."
                )
            return _decoded(picture)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        kind = foreign_kind(data)
        raise PictureError(
            f"{where}: the {len(data)} bytes are no picture of a known format ({', '.join(FORMATS)})"
            + (f", but {kind}" if kind else "")
            + "; the content counts, not the name."
        ) from error
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"{where}: the picture is a decompression bomb, for more than {MAX_PIXELS} pixels are refused."
        ) from error
    # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        reason = one_line(error, 200) or type(error).__name__
        raise PictureError(f"{where}: the picture of {len(data)} bytes is damaged ({reason}).") from error


def pixel_count(data: Any) -> int:
    """Pixels of a picture as its header has them; 0 where it has none, or `data` is no encoded picture."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return picture.width * picture.height
    # Told by those who decode it.
    except Exception:
        return 0


def _contents(path: Path, where: str) -> bytes:
    try:
        return read_regular(path, MAX_BYTES)
    except IrregularFileError as error:
        raise PictureError(f"{where}: {error}.") from error
    # An embedded NUL is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise PictureError(f"{where}: {str(path)!r} cannot be read ({reason}).") from error


def _check_size(picture: Image.Image, where: str) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise PictureError(
            f"{where}: the picture has {picture.width}x{picture.height} pixels, but more than {MAX_PIXELS} are refused."
        )
    if not (picture.width and picture.height):
        raise PictureError(f"{where}: the picture is {picture.width}x{picture.height}: it has no pixels.")


def _decoded(picture: Image.Image) -> Opened:
    # All asked before decoding, which closes files, forgets how pixels lay in them, and turns TIFFs.
    grey, stretch = _grey(picture), _stretch(picture)
    inverted = picture.format == "TIFF" and ";" in _raw_mode(picture) and _raw_mode(picture).endswith("I")
    frames = bool(getattr(picture, "is_animated", False)) and picture.format != "MPO"
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    return Opened(picture, grey, stretch, inverted, orientation if orientation in range(1, 9) else 1, frames)


def _grey(picture: Image.Image) -> tuple[int, int] | None:
    # Pillow brings the values of a portable graymap to 16 bits, and says that they have 32.
    if picture.format == "PPM" and picture.mode == "I":
        return 0, 2**16 - 1
    if not picture.mode.startswith("I;16"):
        return None
    tags = picture.tag_v2 if picture.format == "TIFF" else {}
    white = 2 ** min(tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))) - 1
    white_is_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    return (white, 0) if white_is_zero else (0, white)


def _stretch(picture: Image.Image) -> float:
    if picture.format == "PPM" and picture.tile and isinstance(picture.tile[0].args, tuple):
        greatest = picture.tile[0].args[1]
        return (2**16 - 1 if picture.mode == "I" else 2**8 - 1) / greatest if greatest else 1
    return {"L;2": 85, "L;4": 17}.get(_raw_mode(picture)[:3], 1)


def _raw_mode(picture: Image.Image) -> str:
    """Pillow's name for how pixels lie in the file, such as "L;4"; "" where there is none."""
    arguments = picture.tile[0].args if picture.tile else ""
    return arguments if isinstance(arguments, str) else str(arguments[0] if arguments else "")
