"""Reading the records of an embedded data set by index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

from lisa_jax.parallel.messages import with_kind


class CorruptRecordError(Exception):
    """A stored record cannot be read back."""


class RecordSource:
    """Examples of a TFDS folder by index, text as `str` and `category` as int, an index into `category_names`.

    They also tell what a conditioner may read of their `image`: it was made at its `size`, and not cut out of another.

    Indexing raises IndexError out of range, and CorruptRecordError for a record that cannot be read.

    Attributes:
      fingerprint: what tells the data set from another, wherever it lies: "openmoji/size_32/1.0.0".
      category_names: names of the categories.
    """

    def __init__(self, folder: Path, split: str, title: str, text: Sequence[str]):
        """Opens a split; ValueError when there is none of that name.

        Args:
          folder: of the prepared data set.
          split: its name, or a TFDS slice of it such as "train[:100]".
          title: what messages call the data set.
          text: names of the features that are text.
        """
        # Imported here: handling a CorruptRecordError must not need TFDS.
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(folder)
        self._records = builder.as_data_source(split)
        self._folder = folder
        self._split = split
        self._title = title
        self._text = text
        # They are computed, so that name, size and version of the builder tell them from all others.
        self.fingerprint: str = builder.info.full_name
        self.category_names: list[str] = self._records.dataset_info.features["category"].names

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        index = index.__index__()
        if not 0 <= index < len(self):
            raise IndexError(
                f"Index {index} is out of range for {self._title} {self._split!r} of {len(self)} examples."
            )
        try:
            example = self._records[index]
            text = {name: example[name].decode() for name in self._text}
        # The reader, the protobuf parser and the PNG decoder each have their own exceptions for damaged bytes.
        except Exception as error:
            raise CorruptRecordError(
                f"Record {index} of {self._title} {self._split!r} in {self._folder} is damaged ({with_kind(error)}): "
                "delete that folder and load the data set again to rebuild it."
            ) from error
        size = example["image"].shape[:2]
        picture = {"size": size, "original_size": size, "crop": (0, 0)}
        return {**example, **text, **picture, "category": int(example["category"])}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._folder)!r}, split={self._split!r}, len={len(self)})"
