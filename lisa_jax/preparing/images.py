"""From a row to an image with its conditions: decode, resize and crop together, compute. Runs in worker threads."""

import dataclasses
import functools
import hashlib
import math
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from lisa_jax.data.buckets import Size, nearest_bucket
from lisa_jax.data.conditions.check import check_condition
from lisa_jax.data.conditions.registry import Condition
from lisa_jax.data.geometry import Fitted, fit, same_aspect
from lisa_jax.data.prepared.paths import Tree
from lisa_jax.data.rows import Row, RowError
from lisa_jax.files.sha256 import sha256_of
from lisa_jax.media.channels import RGB
from lisa_jax.media.decode import Decoded, read_labels, read_picture
from lisa_jax.media.image import IMAGE
from lisa_jax.media.medium import Medium
from lisa_jax.media.open_picture import pixel_count
from lisa_jax.preparing.report import FRAMES, TURNED

LABELS = "labels"

# Beyond so many pixels, one row at a time: decoded, the largest picture takes half a gigabyte.
_LARGE = 2**24
_ONE_LARGE = threading.Lock()

_TURNED_HINT = (
    "; EXIF turns one of the two and not the other: turn the pixels themselves (magick mogrify -auto-orient), and make "
    "conditions of those"
)


@dataclasses.dataclass(frozen=True)
class ConditionedImage:
    """What is made of a row.

    Attributes:
      where: file and row that it is made of.
      split: "train" or "test".
      size_index: which of the sizes it has.
      image: uint8 (H, W, 3), of clips (F, H, W, 3).
      conditions: uint8 (H, W, channels) by name, of clips (F, H, W, channels).
      caption: as in the row, the first of several.
      original_size: (height, width) of the row's image.
      crop: (top, left) of the image in the row's one, once that is resized.
      context: tree of arrays, once it is encoded.
      notes: what was decided about it that the user may not want, see `report`.
      more_captions: as in the row.
      more_contexts: of each of those, once they are encoded.
      fps: frames a second of a clip.
    """

    where: str
    split: str
    size_index: int
    image: np.ndarray
    conditions: Mapping[str, np.ndarray]
    caption: str
    original_size: Size
    crop: tuple[int, int]
    context: Tree | None = None
    notes: tuple[str, ...] = ()
    more_captions: tuple[str, ...] = ()
    more_contexts: tuple[Tree, ...] = ()
    fps: float | None = None

    def examples(self) -> list[dict[str, Any]]:
        """What a conditioner may read of it, with each of its captions."""
        known = {"image": self.image, "size": self.image.shape[-3:-1]}
        known |= {"original_size": self.original_size, "crop": self.crop}
        if self.fps is not None:
            known |= {"fps": self.fps, "first_frame": self.image[0]}
        return [{"caption": caption, **known} for caption in (self.caption, *self.more_captions)]

    def others(self) -> list[tuple[str, Tree]]:
        """Its further captions, each with the inputs that are stored for it."""
        if self.context is None:
            return [(caption, {}) for caption in self.more_captions]
        pairs = zip(self.more_captions, self.more_contexts, strict=True)
        return [(caption, {"context": context}) for caption, context in pairs]


@dataclasses.dataclass(frozen=True)
class ImageMaker:
    """Makes images with their conditions from rows; the same row always gives the same.

    Attributes:
      sizes: (height, width) to choose from: the nearest aspect ratio is taken.
      given: names of the conditions that rows bring, in colours.
      computed: functions of the other conditions, by name: of the resized image, the caption and the labels.
      test_fraction: share of the images that go to the test split.
      nearest: given conditions whose colours are classes, so that none may be mixed with its neighbours.
      min_size: least shorter side that an image may be enlarged from; None: images are never enlarged.
      stretched: given conditions that are stretched to the image's shape, where others must have its aspect ratio.
      channels: of conditions, by name; without, given ones have 3, and computed ones as many as their functions say.
    """

    sizes: Sequence[Size]
    given: Sequence[str]
    computed: Mapping[str, Condition]
    test_fraction: float
    nearest: Collection[str] = ()
    min_size: int | None = None
    stretched: Collection[str] = ()
    channels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    # What messages call what rows are of.
    subject: ClassVar[str] = "image"
    medium: ClassVar[Medium] = IMAGE

    @property
    def example_sizes(self) -> tuple[tuple[int, ...], ...]:
        """What examples may be large, one for each of `sizes`."""
        return tuple(self.sizes)

    @property
    def example_bytes(self) -> int:
        """What an example takes in memory, once it is made."""
        channels = RGB + sum(self.channels.get(name, RGB) for name in (*self.given, *self.computed))
        return channels * max(map(math.prod, self.example_sizes))

    def __call__(self, row: Row) -> ConditionedImage:
        """Raises RowError or PictureError for a row that cannot be used."""
        large = any(pixel_count(data) > _LARGE for data in (row.image, *row.conditions.values()))
        with _ONE_LARGE if large else nullcontext():
            return self._made(row)

    def _made(self, row: Row) -> ConditionedImage:
        original = read_picture(row.image, row.where)
        original_size = original.pixels.shape[:2]
        size = nearest_bucket(*original_size, self.sizes)
        read = {
            name: read_picture(row.conditions[name], row.where, self.channels.get(name, RGB)) for name in self.given
        }
        if LABELS in row.extras:
            read[LABELS] = read_labels(row.extras[LABELS], row.where)
        turned = [name for name, one in read.items() if _turned_apart(original, one, stretched=name in self.stretched)]
        pictures = {name: picture.pixels for name, picture in read.items()}
        fitted = self.fitted(
            original.pixels, pictures, size, row.caption, row.where, dict.fromkeys(turned, _TURNED_HINT)
        )
        split = split_of(row, self.test_fraction)
        size_index = self.sizes.index(size)
        frames = any(picture.frames for picture in (original, *read.values()))
        notes = ((TURNED,) if turned else ()) + ((FRAMES,) if frames else ())
        made = (fitted.image, fitted.conditions, row.caption, original_size, fitted.crop)
        return ConditionedImage(row.where, split, size_index, *made, notes=notes, more_captions=row.more_captions)

    def fitted(
        self,
        image: np.ndarray,
        pictures: Mapping[str, np.ndarray],
        size: Size,
        caption: str,
        where: str,
        hints: Mapping[str, str] = MappingProxyType({}),
    ) -> Fitted:
        """An image and what rows bring beside it in a size, and the conditions: those given, and those computed of it.

        Raises:
          RowError: see `fit`; or a condition that cannot be computed.
        """
        bounds = {"labels": self.nearest, "min_size": self.min_size, "stretched": self.stretched}
        fitted = fit(image, pictures, size, where=where, hints=hints, subject=self.subject, **bounds)
        seen = {"image": fitted.image, "caption": caption, **fitted.conditions}
        conditions = {name: fitted.conditions[name] for name in self.given}
        for name, function in self.computed.items():
            computed = _compute(function, name, seen, where)
            channels = self.channels.get(name)
            conditions[name] = check_condition(computed, size, channels, name=name, where=where)
        return fitted._replace(conditions=conditions)


def _turned_apart(image: Decoded, condition: Decoded, *, stretched: bool) -> bool:
    """Whether EXIF turns the one and not the other, and they would fit as they are stored.

    Stretched, anything fits: then, whether they do so no worse as they are stored than upright.
    """
    if image.orientation == condition.orientation:
        return False
    if stretched:
        as_stored = _stretch(image.stored_size(), condition.stored_size())
        return as_stored <= _stretch(image.pixels.shape[:2], condition.pixels.shape[:2])
    return same_aspect(image.stored_size(), condition.stored_size())


def _stretch(a: Size, b: Size) -> float:
    """How far aspect ratios are apart, 0 where they are the same."""
    return abs(math.log(a[0] * b[1] / (a[1] * b[0])))


def split_of(row: Row, test_fraction: float) -> str:
    """ "train" or "test", by a hash of the stored image or clip alone.

    Rows that share an image, as those of a picture with several captions do, thus fall on the same side, and a row
    stays on its side when the source grows or is ordered anew.
    """
    return "test" if rank_of(row) < test_fraction * 2**64 else "train"


def rank_of(row: Row) -> int:
    """A number below 2**64 that the stored image alone decides: those of the lowest ranks are in the test split."""
    stored = row.image
    if isinstance(stored, np.ndarray):
        stored = np.ascontiguousarray(stored).tobytes()
    if not isinstance(stored, bytes):
        stored = _hashes_of(tuple(map(_as_it_is, [stored] if isinstance(stored, Path) else stored))).encode()
    return int.from_bytes(hashlib.sha256(stored).digest()[:8], "big")


def _as_it_is(path: Path) -> tuple[Path, int, int]:
    """A file with its size and when it was changed."""
    found = path.stat()
    return path, found.st_size, found.st_mtime_ns


# Many clips may be cut out of one video, which may have more frames than hashes of single files are kept.
@functools.lru_cache(maxsize=32)
def _hashes_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    return "".join(_hash_of(*file) for file in files)


@functools.lru_cache(maxsize=1024)
def _hash_of(path: Path, size: int, changed: int) -> str:
    """Of a file that may be larger than memory."""
    del size, changed
    return sha256_of(path)


def _compute(function: Condition, name: str, example: Mapping, where: str) -> np.ndarray:
    try:
        return np.asarray(function(example))
    # How a condition says that it can do nothing with an image; anything else is a mistake in the function.
    except ValueError as error:
        raise RowError(f"{where}: condition {name!r} cannot be computed ({error}).") from error
    except Exception as error:
        error.add_note(f"While computing condition {name!r} of {where}.")
        raise
