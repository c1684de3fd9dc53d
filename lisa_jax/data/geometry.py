"""Paired resizing and cropping: image and conditions come out of one size, cut from the same window."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from PIL import Image

from lisa_jax.data.rows import RowError

Size = tuple[int, int]

_ALIKE = ": they are cropped together, so make both of the same part of the picture"


class Fitted(NamedTuple):
    """What is cut out of an image and its conditions.

    Attributes:
      image: (H, W, 3).
      conditions: (H, W, c) or (H, W) by name, each of its own dtype.
      crop: (top, left) of the window in pixels of the resized image.
    """

    image: np.ndarray
    conditions: dict[str, np.ndarray]
    crop: tuple[int, int]


def fit(
    image: np.ndarray,
    conditions: Mapping[str, np.ndarray],
    size: Size,
    *,
    where: str,
    labels: Collection[str] = (),
    min_size: int | None = None,
    subject: str = "image",
    hints: Mapping[str, str] = MappingProxyType({}),
    stretched: Collection[str] = (),
) -> Fitted:
    """Image and conditions resized until they just cover `size`, then cropped to its centre, all by the same window.

    The window is the largest one of the wanted aspect ratio; cutting it out and resizing are one step, so a condition
    of another resolution than the image stays aligned to a fraction of a pixel. Pictures are resized by an antialiased
    Lanczos filter, label maps by nearest neighbour. What has the wanted size already is returned unchanged.

    Args:
      image: uint8 (h, w, 3).
      conditions: uint8 (h', w', c) or integers (h', w') by name; of another size than the image, but of the same aspect
        ratio, up to one pixel of the smaller of the two.
      size: (H, W) wanted.
      where: the file and the row, for the error messages.
      labels: the conditions, besides all of shape (h', w'), whose values must not be mixed: segmentation in colours.
      min_size: None: an image smaller than the window is an error. Else the least shorter side in pixels that an image
        may be enlarged from.
      subject: what `image` is, for the error messages: without an image, conditions are fitted to the first of them.
      hints: what may have led to another aspect ratio, by condition; a clause for the error message.
      stretched: conditions that show all of the image in another aspect ratio, and are taken as they are.

    Raises:
      RowError: an image is too small, or a condition has another aspect ratio than its image.
    """
    height, width = image.shape[:2]
    _check_large_enough(height, width, size, where, min_size, subject)
    for name, condition in conditions.items():
        if name in stretched:
            continue
        check_same_aspect(name, condition.shape[:2], (height, width), where, subject, hints.get(name, _ALIKE))

    scale = min(height / size[0], width / size[1])
    top, left = 0.5 * (height - scale * size[0]) / height, 0.5 * (width - scale * size[1]) / width
    # Fractions of the picture, so that the window means the same in pictures of every resolution.
    window = (top, left, top + scale * size[0] / height, left + scale * size[1] / width)
    return Fitted(
        _cut(image, window, size, nearest=False),
        {
            name: _cut(condition, window, size, nearest=condition.ndim == 2 or name in labels)
            for name, condition in conditions.items()
        },
        (round(top * height / scale), round(left * width / scale)),
    )


def check_same_aspect(name: str, condition: Size, other: Size, where: str, subject: str, hint: str = "") -> None:
    """Raise RowError unless a condition has the aspect ratio of another picture, the subject; both (height, width)."""
    if not same_aspect(condition, other):
        raise RowError(
            f"{where}: size mismatch: condition {name!r} is {condition[1]}x{condition[0]}, but the {subject} is "
            f"{other[1]}x{other[0]}, which is another aspect ratio{hint}."
        )


def same_aspect(a: Size, b: Size) -> bool:
    """Whether two (height, width) have the same aspect ratio, up to one pixel of the smaller of the two."""
    smaller, larger = sorted([a, b])
    by_height = abs(smaller[0] - larger[0] * smaller[1] / larger[1])
    by_width = abs(smaller[1] - larger[1] * smaller[0] / larger[0])
    # Whoever made the smaller picture from the larger one has rounded one of its sides.
    return min(by_height, by_width) <= 1


def _check_large_enough(height: int, width: int, size: Size, where: str, min_size: int | None, subject: str) -> None:
    if min_size is None and (height < size[0] or width < size[1]):
        raise RowError(
            f"{where}: the {subject} is {width}x{height}, too small for {size[1]}x{size[0]}: "
            f"--min_size={min(height, width)} allows to enlarge it."
        )
    if min_size is not None and min(height, width) < min_size:
        raise RowError(
            f"{where}: the {subject} is {width}x{height}, but its shorter side must be at least {min_size} pixels "
            "(--min_size)."
        )


def _cut(picture: np.ndarray, window: tuple[float, ...], size: Size, nearest: bool) -> np.ndarray:
    height, width = picture.shape[:2]
    top, left, bottom, right = (part * side for part, side in zip(window, (height, width) * 2, strict=True))
    if nearest:
        rows = _nearest(top, bottom, size[0], height)
        columns = _nearest(left, right, size[1], width)
        return picture[rows[:, None], columns]
    # Rounding may put the window's far corner a hair outside of the picture, which Pillow refuses.
    box = (left, top, min(right, width), min(bottom, height))
    if picture.shape[2] == 3:
        return _resized(picture, box, size)
    # Each by itself: Pillow takes a last channel for opacity, and would lose the colours of what is transparent.
    return np.stack([_resized(channel, box, size) for channel in np.moveaxis(picture, -1, 0)], axis=-1)


def _resized(picture: np.ndarray, box: tuple[float, ...], size: Size) -> np.ndarray:
    """What is within a box (left, top, right, bottom) of a picture (h, w) or (h, w, 3), in another size."""
    whole = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(whole.resize(size[::-1], Image.Resampling.LANCZOS, box=box))


def _nearest(start: float, stop: float, count: int, length: int) -> np.ndarray:
    centres = start + (np.arange(count) + 0.5) * (stop - start) / count
    return np.clip(centres.astype(np.int64), 0, length - 1)
