"""The one place where stored pictures become arrays."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lisa_jax.media.open_picture import PictureError, open_picture

Picture = bytes | np.ndarray

_STRIP_PIXELS = 2**20
# Channels of which the last is opacity -> Pillow's name for them.
_WITH_OPACITY = {2: "LA", 4: "RGBA"}


class Decoded(NamedTuple):
    """A picture, and what has been decided about it.

    Attributes:
      pixels: uint8 (H, W, channels), or int32 (H, W) where they are labels; upright.
      orientation: of the stored pixels, as EXIF counts them: 1 is upright, from 5 on height and width are exchanged.
      frames: there are further frames (an animation, pages), which have been left out.
    """

    pixels: np.ndarray
    orientation: int = 1
    frames: bool = False

    def stored_size(self) -> tuple[int, int]:
        """(height, width) of the pixels as they are stored."""
        height, width = self.pixels.shape[:2]
        return (width, height) if self.orientation > 4 else (height, width)


def decode_picture(data: Picture | Path, where: str, channels: int = 3) -> np.ndarray:
    """A picture as uint8 RGB, or in other channels.

    EXIF orientation is applied; transparency is laid on white; palettes, grey, black and white and CMYK are converted;
    16 bits a channel become 8 (65535 becomes 255). Of an animation the first frame counts. Colour profiles are not
    applied, as is usual in training.

    Args:
      data: an encoded picture (see `open_picture.FORMATS`), a file with one, or an array uint8 or uint16 (H, W),
        (H, W, 1), (H, W, 3) or (H, W, 4), whose fourth channel is opacity.
      where: the file and the row, for the error message.
      channels: 3; 1: the grey of that; 4: RGBA as it is stored, colours not multiplied by opacity; 2: grey and opacity,
        likewise.

    Returns:
      uint8 (H, W, channels).

    Raises:
      PictureError: it is no picture, truncated or damaged, no regular file, has more than 89 million pixels or 134 MB,
        values without a known range (floating point or 32 bit integers), or no opacity where that is a channel.
    """
    return read_picture(data, where, channels).pixels


def read_picture(data: Picture | Path, where: str, channels: int = 3) -> Decoded:
    """`decode_picture`, with what has been decided about the picture."""
    if isinstance(data, np.ndarray):
        return Decoded(_of_array(data, channels, where))
    opened = open_picture(data, where)
    picture = opened.picture
    if opened.grey is None and picture.mode.startswith(("I", "F")):
        kind = "32 bit floating point" if picture.mode == "F" else "signed or 32 bit"
        raise PictureError(
            f"{where}: the picture holds {kind} numbers (mode {picture.mode!r}), whose black and white are not known: "
            "convert it to 8 or 16 bits a channel."
        )
    if opened.grey is not None and "transparency" in picture.info:
        raise PictureError(
            f"{where}: one grey value of 16 bits stands for what is transparent, which is not read: store the opacity "
            "as a channel."
        )
    if channels in _WITH_OPACITY and not picture.has_transparency_data:
        raise PictureError(_without_opacity(where, channels))
    pixels = np.empty((picture.height, picture.width, channels), np.uint8)
    # In strips, for what is made on the way takes several times what comes out.
    step = max(1, _STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, step):
        strip = picture.crop((0, top, picture.width, min(top + step, picture.height)))
        pixels[top : top + step] = _of_strip(strip, opened.grey, channels, where)
    return Decoded(pixels, opened.orientation, opened.frames)


def read_labels(data: Picture | Path, where: str) -> Decoded:
    """A map of integer class labels: palette indices or grey values as they are stored, never converted to colours.

    Args:
      data: an encoded picture with a palette or one channel of 1 to 32 bits, losslessly compressed; a file with one; or
        an integer array (H, W) or (H, W, 1).
      where: the file and the row, for the error message.

    Returns:
      int32 (H, W), with what has been decided about the map.

    Raises:
      PictureError: it is no picture, truncated or damaged, in colours, or compressed by JPEG, which changes labels.
    """
    if isinstance(data, np.ndarray):
        labels = data[:, :, 0] if data.ndim == 3 and data.shape[2] == 1 else data
        if labels.ndim != 2 or not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
            raise PictureError(f"{where}: a label map must be integers (H, W), but this is {data.dtype} {data.shape}.")
        return Decoded(labels.astype(np.int32))
    opened = open_picture(data, where, lossless=True)
    picture = opened.picture
    if not (picture.mode in ("1", "P", "L", "I") or picture.mode.startswith("I;16")):
        raise PictureError(
            f"{where}: a label map must have one channel or a palette, but this picture is {picture.mode}; a map that "
            "is painted in colours already is an ordinary condition picture."
        )
    if opened.inverted:
        raise PictureError(
            f"{where}: the label map is stored with white as 0, which inverts labels: store it otherwise."
        )
    labels = np.asarray(picture)
    labels = labels if opened.stretch == 1 else np.round(labels / opened.stretch)
    return Decoded(labels.astype(np.int32), opened.orientation, opened.frames)


def _of_strip(strip: Image.Image, grey: tuple[int, int] | None, channels: int, where: str) -> np.ndarray:
    if grey is not None:
        return _in_channels(_array_to_rgb(_sixteen_bits(np.asarray(strip), *grey), where), channels)
    if channels in _WITH_OPACITY:
        return np.asarray(strip.convert("RGBA").convert(_WITH_OPACITY[channels]))
    if strip.has_transparency_data:
        opaque = Image.new("RGBA", strip.size, "white")
        opaque.alpha_composite(strip.convert("RGBA"))
        strip = opaque
    return _in_channels(np.asarray(strip.convert("RGB")), channels)


def _in_channels(rgb: np.ndarray, channels: int) -> np.ndarray:
    return rgb if channels == 3 else np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


def _of_array(array: np.ndarray, channels: int, where: str) -> np.ndarray:
    if channels not in _WITH_OPACITY:
        return _in_channels(_array_to_rgb(array, where), channels)
    if array.ndim != 3 or array.shape[2] != channels:
        raise PictureError(_without_opacity(where, channels))
    if array.dtype not in (np.uint8, np.uint16):
        raise PictureError(f"{where}: a picture must be uint8 or uint16, but this is {array.dtype}.")
    return _to_eight_bits(array)


def _without_opacity(where: str, channels: int) -> str:
    wanted = "grey and opacity" if channels == 2 else "colours and opacity"
    return (
        f"{where}: {channels} channels are {wanted}, but this picture has no opacity: store it with an alpha channel."
    )


def _to_eight_bits(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.uint8 else ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _sixteen_bits(values: np.ndarray, black: int, white: int) -> np.ndarray:
    if (black, white) == (0, 2**16 - 1):
        return values.astype(np.uint16)
    scaled = (values.astype(np.float32) - black) * ((2**16 - 1) / (white - black))
    return np.round(scaled).clip(0, 2**16 - 1).astype(np.uint16)


def _array_to_rgb(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype == np.uint16:
        array = _to_eight_bits(array)
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise PictureError(
            f"{where}: a picture must be uint8 or uint16 with 1, 3 or 4 channels, but this is {array.dtype} "
            f"{array.shape}."
        )
    if channels == 4:
        opacity = array[:, :, 3:].astype(np.uint32)
        mixed = array[:, :, :3] * opacity + 255 * (255 - opacity)
        return ((mixed + 127) // 255).astype(np.uint8)
    return np.broadcast_to(array.reshape(*array.shape[:2], channels), (*array.shape[:2], 3)).copy()
