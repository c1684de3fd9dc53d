"""Reading a prepared data set by index: what `lisa_jax prepare` wrote."""

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from array_record.python import array_record_data_source

from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.data.embedded.records import CorruptRecordError
from lisa_jax.data.prepared.empty_context import empty_context_file, read_empty_context
from lisa_jax.data.prepared.layout import EXAMPLE_FIELDS, name_of_another
from lisa_jax.data.prepared.metadata import Feature, Metadata, Shard
from lisa_jax.data.prepared.reads import reading
from lisa_jax.data.prepared.shard_hashes import ends_of_shards, fingerprint_of, records_of_shards
from lisa_jax.data.prepared.tf_example import bytes_features
from lisa_jax.files.home import expanded
from lisa_jax.parallel.messages import with_kind


def load_prepared(folder: str | Path, split: str = "train") -> "PreparedSource":
    """Random access to a prepared data set.

    Raises:
      FileNotFoundError: the folder is no prepared data set, or a shard is missing.
      ValueError: there is no such split, or lisa_jax.json is damaged.
      CorruptRecordError: a shard is not the one that was written, or has not its size.
    """
    folder = expanded(folder)
    metadata = Metadata.read(folder)
    shards = metadata.splits.get(split, ())
    if not any(shard.examples for shard in shards):
        raise ValueError(
            f"{folder} has no split {split!r}, only {_counts(metadata)}: for examples of it prepare the data set "
            "again, with another --test_fraction or from more rows."
        )
    _check_shards(folder, shards)
    return PreparedSource(folder, split, metadata)


def _counts(metadata: Metadata) -> str:
    sides = (f"{sum(shard.examples for shard in shards)} {name}" for name, shards in sorted(metadata.splits.items()))
    return " and ".join(sides) or "empty ones"


def _check_shards(folder: Path, shards: Sequence[Shard]) -> None:
    for shard in shards:
        path = folder / shard.file
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: restore this shard, or prepare the data set again.")
        if path.stat().st_size != shard.bytes:
            raise CorruptRecordError(
                f"{path} has {path.stat().st_size} bytes, but was written with {shard.bytes}: restore this shard, or "
                "prepare the data set again."
            )
    unknown = [shard for shard in shards if not shard.ends]
    for shard, records in zip(unknown, records_of_shards(folder, unknown), strict=True):
        if records != shard.examples:
            raise CorruptRecordError(
                f"{folder / shard.file} has {records} records, but {shard.examples} were written: restore this shard, "
                "or prepare the data set again."
            )
    noted = [shard for shard in shards if shard.ends]
    for shard, ends in zip(noted, ends_of_shards(folder, noted), strict=True):
        if ends != shard.ends:
            raise CorruptRecordError(
                f"{folder / shard.file} is not as it was written (its hash is another one): restore this shard, or "
                "prepare the data set again."
            )


@dataclasses.dataclass(frozen=True)
class _ShardToRead:
    """A whole shard, as ArrayRecordDataSource takes it without opening it first."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class PreparedSource:
    """Examples by index, safe to read from several threads.

    `caption` str, the first of several; `size`; `inputs`, the tree that `experiments.inputs` describes: read-only
    arrays, bfloat16 where floating point numbers are cached; `others`, a tuple with caption and inputs for each further
    caption; where contexts are not cached, `original_size` and `crop`; of clips `fps`, and `first_frame` where it is
    kept. Indexing raises CorruptRecordError, naming file and record, for damaged ones.

    Attributes:
      channels: of the conditions, by name.
      cached: what is stored of ("moments", "context").
      sizes: (height, width) of the buckets, of clips (frames, height, width); one where there are none.
      size_index: int32 (len,): the bucket of each example. A batch holds examples of one bucket only.
      base: fingerprint of the base that cached, or None where nothing is.
      fingerprint: of the whole data set, see `fingerprint_of`.
      empty_context: context of the empty caption, a tree of arrays (1, ...), floats in float32; None where contexts are
        not cached.
    """

    def __init__(self, folder: Path, split: str, metadata: Metadata):
        self._folder = folder
        self._metadata = metadata
        self._split = split
        self._shards = metadata.splits[split]
        self._records = array_record_data_source.ArrayRecordDataSource(
            [_ShardToRead(str(folder / shard.file), 0, shard.examples, shard.examples) for shard in self._shards]
        )
        self._starts = list(itertools.accumulate((shard.examples for shard in self._shards), initial=0))
        self._features = metadata.features
        self.channels = metadata.channels
        self.cached = metadata.cached
        self.sizes = metadata.sizes
        self.size_index = _size_index(self._shards)
        self.base = metadata.base
        self.empty_context = read_empty_context(folder, metadata) if "context" in metadata.cached else None

    @cached_property
    def fingerprint(self) -> str:
        """What tells this data set from another, wherever it lies; both splits have the same."""
        return fingerprint_of(self._folder, self._metadata, empty_context_file(self._folder, self._metadata))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        index = index.__index__()
        if not 0 <= index < len(self):
            raise IndexError(f"Index {index} is out of range for {self!r}.")
        try:
            with reading(lambda: self.where(index)):
                record = self._records[index]
            size_index = self.size_index[index]
            return parse(record, self._features, size_index) | {"size": self.sizes[size_index][-2:]}
        # The reader has its own exceptions for damaged bytes.
        except Exception as error:
            raise CorruptRecordError(
                f"{self.where(index)} is damaged ({with_kind(error)}): restore this shard, or prepare the data "
                "set again."
            ) from error

    def __repr__(self) -> str:
        return f"PreparedSource({str(self._folder)!r}, split={self._split!r}, len={len(self)})"

    def where(self, index: int) -> str:
        """The file and the record of an example, for messages."""
        shard = bisect.bisect_right(self._starts, index) - 1
        return f"{self._folder / self._shards[shard].file} record {index - self._starts[shard]}"

    def check_base(self, fingerprint: str) -> None:
        """Raise ValueError unless what is cached comes from the base with this fingerprint."""
        if self.cached and fingerprint != self.base:
            raise ValueError(
                f"{self._folder} holds {' and '.join(self.cached)} of another base (fingerprint "
                f"{str(self.base)[:12]}..., not {fingerprint[:12]}...): use that base, with the same VAE (config.vae) "
                "and the same left out of it (config.leave_out), or prepare the data set again with --base, --vae and "
                "--leave_out of this one."
            )


def _size_index(shards: tuple[Shard, ...]) -> np.ndarray:
    runs = np.asarray([run for shard in shards for run in shard.runs], np.int32)
    return np.repeat(runs[:, 0], runs[:, 1])


def parse(record: bytes, features: Mapping[str, Feature], size_index: int) -> dict[str, Any]:
    """A tf.train.Example record -> `caption`, `EXAMPLE_FIELDS` if any, `inputs` (views of it), and `others`."""
    stored = bytes_features(record)

    def array(name: str, value: memoryview) -> np.ndarray:
        return np.frombuffer(value, np.dtype(features[name].dtype)).reshape(features[name].shapes[size_index])

    # TFDS keeps the shape beside the value where it is not the same for all.
    arrays = {name: array(name, stored[name if name in stored else f"{name}/value"]) for name in features}
    known = {name: _known(arrays.pop(name)) for name in EXAMPLE_FIELDS if name in arrays}
    inputs = tree_of({features[name].path: leaf for name, leaf in arrays.items()})
    contexts = {name: feature.path for name, feature in features.items() if feature.path[0] == "context"}

    def other(number: int) -> dict[str, Any]:
        leaves = {path: array(name, stored[name_of_another(name, number)]) for name, path in contexts.items()}
        return {"caption": _text(stored[name_of_another("caption", number)]), "inputs": {**inputs, **tree_of(leaves)}}

    numbers = itertools.takewhile(lambda number: name_of_another("caption", number) in stored, itertools.count(1))
    return {"caption": _text(stored["caption"]), **known, "inputs": inputs, "others": tuple(map(other, numbers))}


def _known(array: np.ndarray) -> float | tuple[int, ...] | np.ndarray:
    """A number, a pair of them, or a picture."""
    return array if array.ndim > 1 else tuple(array.tolist()) if array.ndim else array.item()


def _text(value: memoryview) -> str:
    return bytes(value).decode()
