"""How a prepared data set lies on disk: what its writer and its reader share.

A folder that `tfds.builder_from_directory` opens, with two files more:

    dataset_info.json, features.json             written by TFDS
    prepared-train.array_record-00000-of-00042   tf.train.Example records, one a group: random access; zstd if it pays
    lisa_jax.json                                `Metadata`: sizes, what is stored of an example and by which base
    empty_context.safetensors                    (1, ...): context of "", where contexts are cached; floats in float32

Stored of an example are its caption and its inputs, the tree that `experiments.inputs` describes. Every array of the
tree is a feature, named by its path: `moments`, `context.tokens`, `condition.pose`. It is a
`tfds.features.Tensor(encoding="bytes")`: raw little-endian bytes. Floating point numbers are stored in bfloat16, as the
uint16 of the same bits (`array.view(ml_dtypes.bfloat16)` gives it back), for TFDS without TensorFlow knows bfloat16
only where ml_dtypes happens to be imported.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from lisa_jax.data.prepared import first_format
from lisa_jax.data.prepared.paths import Tree, leaves_by_path, name_of
from lisa_jax.files.whole_file import write_whole_text

VERSION = 2
DATASET = "prepared"
METADATA_FILE = "lisa_jax.json"
EMPTY_CONTEXT_FILE = "empty_context.safetensors"

Size = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Feature:
    """An array that is stored of an example.

    Attributes:
      path: the keys that lead to it in the inputs.
      dtype: name of its dtype.
      shapes: its shape for each of the data set's sizes.
    """

    path: tuple[str, ...]
    dtype: str
    shapes: tuple[tuple[int, ...], ...]


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
      features: the arrays of an example by name.
      base: fingerprint of the base that cached, or None.
      settings: what the data set was made from and how.
      skipped: number of rows left out, listed in report.jsonl.
      splits: the shards of each split.
    """

    sizes: tuple[Size, ...]
    features: Mapping[str, Feature]
    base: str | None
    settings: Mapping[str, Any]
    skipped: int
    splits: Mapping[str, tuple[Shard, ...]]

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions."""
        paths = (feature.path for feature in self.features.values())
        return tuple(path[1] for path in paths if path[0] in ("condition", "condition_moments"))

    @property
    def cached(self) -> tuple[str, ...]:
        """What is stored of ("moments", "context")."""
        stored = {feature.path[0] for feature in self.features.values()}
        return tuple(name for name in ("moments", "context") if name in stored)

    def write(self, folder: Path) -> None:
        """Write `lisa_jax.json`, in one rename."""
        content = {"version": VERSION, **dataclasses.asdict(self)}
        write_whole_text(folder / METADATA_FILE, json.dumps(content) + "\n")

    @staticmethod
    def read(folder: Path) -> "Metadata":
        """Read `lisa_jax.json`.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it was written by a version that is not known, or is not whole.
        """
        path = folder / METADATA_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: give the --out folder of a finished `lisa_jax prepare`.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("version")
        except (json.JSONDecodeError, KeyError) as error:
            raise ValueError(f"{path} is damaged ({error!r}): prepare the data set again.") from error
        if version == 1:
            content = first_format.upgraded(content)
        elif version != VERSION:
            raise ValueError(
                f"{path} has version {version}, but this is version {VERSION}: prepare the data set again."
            )
        content["splits"] = {
            name: tuple(Shard(**{**shard, "runs": _tuples(shard["runs"])}) for shard in shards)
            for name, shards in content["splits"].items()
        }
        content["features"] = {
            name: Feature(**{field: _tuples(value) for field, value in feature.items()})
            for name, feature in content["features"].items()
        }
        return Metadata(**{**content, "sizes": _tuples(content["sizes"])})


def features_of(inputs: Sequence[Tree]) -> dict[str, Feature]:
    """The features that hold an example's inputs, given as a tree of shapes and dtypes for each size."""
    of_sizes = [leaves_by_path(tree) for tree in inputs]
    return {
        name_of(path): Feature(path, leaf.dtype.name, tuple(leaves[path].shape for leaves in of_sizes))
        for path, leaf in of_sizes[0].items()
    }


def named_leaves(inputs: Tree) -> dict[str, np.ndarray]:
    """An example's inputs as its features hold them, by name."""
    return {
        name_of(path): leaf.view(np.uint16) if leaf.dtype == jnp.bfloat16 else leaf
        for path, leaf in leaves_by_path(inputs).items()
    }


def tfds_features(metadata: Metadata) -> tfds.features.FeaturesDict:
    """The TFDS features of a prepared data set; sides that differ between buckets are None."""

    def tensor(feature: Feature) -> tfds.features.Tensor:
        sides = zip(*feature.shapes, strict=True)
        shape = tuple(side[0] if len(set(side)) == 1 else None for side in sides)
        if feature.dtype == "bfloat16":
            doc = "bfloat16, as the uint16 of the same bits"
            return tfds.features.Tensor(shape=shape, dtype=np.uint16, encoding="bytes", doc=doc)
        return tfds.features.Tensor(shape=shape, dtype=np.dtype(feature.dtype), encoding="bytes")

    tensors = {name: tensor(feature) for name, feature in metadata.features.items()}
    return tfds.features.FeaturesDict({"caption": tfds.features.Text(), **tensors})


def shard_file(split: str, index: int, count: int) -> str:
    """File name of a shard, by TFDS's default template."""
    return f"{DATASET}-{split}.array_record-{index:05d}-of-{count:05d}"


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
