"""How a prepared data set lies on disk: what its writer and its reader share.

A folder that `tfds.builder_from_directory` opens, with two files more:

    dataset_info.json, features.json             written by TFDS
    prepared-train.array_record-00000-of-00042   tf.train.Example records, one a group: random access; zstd if it pays
    lisa_jax.json                                `Metadata`: sizes, conditions, what is cached and by which base
    null_context.npy                             float32 (1, length, width): context of "", where contexts are cached

Every array is a `tfds.features.Tensor(encoding="bytes")`: raw little-endian bytes. bfloat16 is stored as the uint16 of
the same bits (`array.view(ml_dtypes.bfloat16)` gives it back), for TFDS without TensorFlow knows bfloat16 only where
ml_dtypes happens to be imported.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

VERSION = 1
DATASET = "prepared"
METADATA_FILE = "lisa_jax.json"
NULL_CONTEXT_FILE = "null_context.npy"
CACHES = ("moments", "context")

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Shard:
    """One ArrayRecord file: its name, its bytes, and its examples' sizes in order as runs (index of size, count)."""

    file: str
    bytes: int
    runs: tuple[tuple[int, int], ...]

    @property
    def examples(self) -> int:
        """Number of records."""
        return sum(count for _, count in self.runs)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What `lisa_jax.json` says.

    Attributes:
      sizes: (height, width) of images and conditions, one a bucket.
      conditions: their names.
      moments: shape of cached moments for each of `sizes`, or None: then records hold `image`.
      context: shape of cached contexts, or None.
      base: fingerprint of the base that cached, or None.
      settings: what the data set was made from and how.
      skipped: number of rows left out, listed in report.jsonl.
      splits: the shards of each split.
    """

    sizes: tuple[Size, ...]
    conditions: tuple[str, ...]
    moments: tuple[tuple[int, int, int], ...] | None
    context: tuple[int, int] | None
    base: str | None
    settings: Mapping[str, Any]
    skipped: int
    splits: Mapping[str, tuple[Shard, ...]]

    def write(self, folder: Path) -> None:
        """Write `lisa_jax.json`, in one rename."""
        content = {"version": VERSION, **dataclasses.asdict(self)}
        partial = folder / (METADATA_FILE + ".tmp")
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        partial.rename(folder / METADATA_FILE)

    @staticmethod
    def read(folder: Path) -> "Metadata":
        """Read `lisa_jax.json`.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it was written by another version, or is not whole.
        """
        path = folder / METADATA_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: give the --out folder of a finished `lisa_jax prepare`.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("version")
        except (json.JSONDecodeError, KeyError) as error:
            raise ValueError(f"{path} is damaged ({error!r}): prepare the data set again.") from error
        if version != VERSION:
            raise ValueError(
                f"{path} has version {version}, but this is version {VERSION}: prepare the data set again."
            )
        content["splits"] = {
            name: tuple(Shard(**{**shard, "runs": _tuples(shard["runs"])}) for shard in shards)
            for name, shards in content["splits"].items()
        }
        for name in ("sizes", "conditions", "moments", "context"):
            content[name] = _tuples(content[name])
        return Metadata(**content)


def condition_features(conditions: Sequence[str]) -> dict[str, str]:
    """Name of a condition -> feature that holds it: `condition` for a single one, else `condition_<name>`."""
    if len(conditions) == 1:
        return {conditions[0]: "condition"}
    return {name: f"condition_{name}" for name in conditions}


def array_shapes(metadata: Metadata, size_index: int) -> dict[str, tuple[int, ...]]:
    """Shape of each array feature of an example of a size."""
    picture = (*metadata.sizes[size_index], 3)
    shapes = dict.fromkeys(condition_features(metadata.conditions).values(), picture)
    if metadata.moments is None:
        shapes["image"] = picture
    else:
        shapes["moments"] = metadata.moments[size_index]
    if metadata.context is not None:
        shapes["context"] = metadata.context
    return shapes


def features(metadata: Metadata) -> tfds.features.FeaturesDict:
    """The TFDS features of a prepared data set; sides that differ between buckets are None."""
    shapes = [array_shapes(metadata, index) for index in range(len(metadata.sizes))]

    def tensor(name: str) -> tfds.features.Tensor:
        sides = zip(*(of_size[name] for of_size in shapes), strict=True)
        shape = tuple(side[0] if len(set(side)) == 1 else None for side in sides)
        dtype = np.uint16 if name in CACHES else np.uint8
        doc = "bfloat16, as the uint16 of the same bits" if name in CACHES else None
        return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes", doc=doc)

    return tfds.features.FeaturesDict({"caption": tfds.features.Text(), **{name: tensor(name) for name in shapes[0]}})


def shard_file(split: str, index: int, count: int) -> str:
    """File name of a shard, by TFDS's default template."""
    return f"{DATASET}-{split}.array_record-{index:05d}-of-{count:05d}"


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
