"""The one place where stored pictures become arrays."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lisa_jax.data.rows.row import Picture, RowError
from lisa_jax.parallel.messages import one_line

# Pillow's own limit for what is no decompression bomb; beyond it Pillow only warns.
MAX_PIXELS = 2**30 // 12

_LOSSY_FORMATS = ("JPEG", "MPO")


def decode_picture(data: Picture, where: str) -> np.ndarray:
    """A picture as uint8 RGB.

    EXIF orientation is applied; transparency is laid on white; palettes, grey, black and white and CMYK are converted;
    16 bits a channel become 8 (65535 becomes 255). Of an animation the first frame counts. Colour profiles are not
    applied, as is usual in training.

    Args:
      data: an encoded picture of any format Pillow reads, or an array uint8 or uint16 (H, W), (H, W, 1), (H, W, 3) or
        (H, W, 4), whose fourth channel is opacity.
      where: the file and the row, for the error message.

    Returns:
      uint8 (H, W, 3).

    Raises:
      RowError: it is no picture, truncated or damaged, has more than 89 million pixels, or values without a known range
        (floating point or 32 bit integers).
    """
    if isinstance(data, np.ndarray):
        return _array_to_rgb(data, where)
    picture = _open(data, where)
    if picture.mode.startswith("I;16"):
        return _array_to_rgb(np.asarray(picture).astype(np.uint16), where)
    if picture.mode in ("I", "F"):
        raise RowError(
            f"{where}: the picture holds 32 bit numbers (mode {picture.mode!r}), whose black and white are not known: "
            "convert it to 8 or 16 bits a channel."
        )
    if picture.has_transparency_data:
        opaque = Image.new("RGBA", picture.size, "white")
        opaque.alpha_composite(picture.convert("RGBA"))
        picture = opaque
    return np.array(picture.convert("RGB"))


def decode_labels(data: Picture, where: str) -> np.ndarray:
    """A map of integer class labels: palette indices or grey values as they are stored, never converted to colours.

    Args:
      data: an encoded picture with a palette or one channel of 1, 8, 16 or 32 bits, losslessly compressed; or an
        integer array (H, W) or (H, W, 1).
      where: the file and the row, for the error message.

    Returns:
      int32 (H, W).

    Raises:
      RowError: it is no picture, truncated or damaged, in colours, or compressed by JPEG, which changes labels.
    """
    if isinstance(data, np.ndarray):
        labels = data[:, :, 0] if data.ndim == 3 and data.shape[2] == 1 else data
        if labels.ndim != 2 or not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
            raise RowError(f"{where}: a label map must be integers (H, W), but this is {data.dtype} {data.shape}.")
        return labels.astype(np.int32)
    picture = _open(data, where, lossless=True)
    if not (picture.mode in ("1", "P", "L", "I") or picture.mode.startswith("I;16")):
        raise RowError(
            f"{where}: a label map must have one channel or a palette, but this picture is {picture.mode}; a map that "
            "is painted in colours already is an ordinary condition picture."
        )
    return np.asarray(picture).astype(np.int32)


def _open(data: bytes, where: str, lossless: bool = False) -> Image.Image:
    """The decoded first frame, upright."""
    if not isinstance(data, bytes):
        raise RowError(f"{where}: a picture must be encoded bytes or an array, not {type(data).__name__}.")
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise RowError(
                    f"{where}: the picture has {picture.width}x{picture.height} pixels, but more than {MAX_PIXELS} are "
                    "refused."
                )
            if lossless and picture.format in _LOSSY_FORMATS:
                raise RowError(f"{where}: a label map must not be stored as {picture.format}, which changes labels.")
            picture.load()
            return ImageOps.exif_transpose(picture)
    except RowError:
        raise
    except UnidentifiedImageError as error:
        raise RowError(f"{where}: the {len(data)} bytes are no picture of a known format.") from error
    # Pillow's decoders raise nearly anything on damaged bytes: OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        raise RowError(f"{where}: the picture of {len(data)} bytes is damaged ({one_line(error)}).") from error


def _array_to_rgb(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise RowError(
            f"{where}: a picture must be uint8 or uint16 with 1, 3 or 4 channels, but this is {array.dtype} "
            f"{array.shape}."
        )
    if channels == 4:
        opacity = array[:, :, 3:].astype(np.uint32)
        mixed = array[:, :, :3] * opacity + 255 * (255 - opacity)
        return ((mixed + 127) // 255).astype(np.uint8)
    return np.broadcast_to(array.reshape(*array.shape[:2], channels), (*array.shape[:2], 3)).copy()
