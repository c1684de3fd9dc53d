"""From a row to an image with its conditions: decode, resize and crop together, compute. Runs in worker threads."""

import dataclasses
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lisa_jax.data.buckets import Size, nearest_bucket
from lisa_jax.data.conditions.registry import Condition
from lisa_jax.data.geometry import fit
from lisa_jax.data.prepared.paths import Tree
from lisa_jax.data.rows import Row, RowError, decode_labels, decode_picture

LABELS = "labels"


@dataclasses.dataclass(frozen=True)
class ConditionedImage:
    """What is made of a row.

    Attributes:
      where: file and row that it is made of.
      split: "train" or "test".
      size_index: which of the sizes it has.
      image: uint8 (H, W, 3).
      conditions: uint8 (H, W, 3) by name.
      caption: as in the row.
      original_size: (height, width) of the row's image.
      crop: (top, left) of the image in the row's one, once that is resized.
      context: tree of arrays, once it is encoded.
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

    def example(self) -> dict[str, Any]:
        """What a conditioner may read of it."""
        return {
            "caption": self.caption,
            "image": self.image,
            "size": self.image.shape[:2],
            "original_size": self.original_size,
            "crop": self.crop,
        }


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
    """

    sizes: Sequence[Size]
    given: Sequence[str]
    computed: Mapping[str, Condition]
    test_fraction: float
    nearest: Collection[str] = ()
    min_size: int | None = None

    def __call__(self, row: Row) -> ConditionedImage:
        """Raises RowError for a row that cannot be used."""
        original = decode_picture(row.image, row.where)
        original_size = original.shape[:2]
        size = nearest_bucket(*original_size, self.sizes)
        pictures = {name: decode_picture(row.conditions[name], row.where) for name in self.given}
        if LABELS in row.extras:
            pictures[LABELS] = decode_labels(row.extras[LABELS], row.where)
        fitted = fit(original, pictures, size, where=row.where, labels=self.nearest, min_size=self.min_size)
        seen = {"image": fitted.image, "caption": row.caption, **fitted.conditions}
        conditions = {name: fitted.conditions[name] for name in self.given}
        for name, function in self.computed.items():
            conditions[name] = _compute(function, name, seen, size, row.where)
        split = split_of(row, self.test_fraction)
        size_index = self.sizes.index(size)
        made = (fitted.image, conditions, row.caption, original_size, fitted.crop)
        return ConditionedImage(row.where, split, size_index, *made)


def split_of(row: Row, test_fraction: float) -> str:
    """ "train" or "test", by a hash of the stored image alone.

    Rows that share an image, as those of a picture with several captions do, thus fall on the same side, and a row
    stays on its side when the source grows or is ordered anew.
    """
    stored = row.image if isinstance(row.image, bytes) else np.ascontiguousarray(row.image).tobytes()
    digest = hashlib.sha256(stored).digest()
    return "test" if int.from_bytes(digest[:8], "big") < test_fraction * 2**64 else "train"


def _compute(function: Condition, name: str, example: Mapping, size: Size, where: str) -> np.ndarray:
    try:
        condition = np.asarray(function(example))
    # How a condition says that it can do nothing with an image; anything else is a mistake in the function.
    except ValueError as error:
        raise RowError(f"{where}: condition {name!r} cannot be computed ({error}).") from error
    except Exception as error:
        error.add_note(f"While computing condition {name!r} of {where}.")
        raise
    if condition.shape != (*size, 3) or condition.dtype != np.uint8:
        raise ValueError(
            f"Condition {name!r} gives {condition.dtype} {condition.shape}, but must give uint8 {(*size, 3)}."
        )
    return condition
