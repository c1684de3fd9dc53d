"""`lisa_jax.json`: what a prepared data set says of itself."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from lisa_jax.data.prepared import first_format
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.typed import TypedError, typed
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.media.channels import MOST_CHANNELS, RGB

VERSION = 3
METADATA_FILE = "lisa_jax.json"

Size = tuple[int, ...]
# Where inputs hold conditions: as pictures, or encoded.
_CONDITIONS = ("condition", "condition_moments")


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
    """One ArrayRecord file.

    Attributes:
      file: its name.
      bytes: its size.
      runs: its examples' sizes in order, as (index of size, count).
      sha256: of the whole file; None in data sets of earlier versions.
      ends: see `shard_hashes.ends_of`; likewise.
    """

    file: str
    bytes: int
    runs: tuple[tuple[int, int], ...]
    sha256: str | None = None
    ends: str | None = None

    @property
    def examples(self) -> int:
        """Number of records."""
        return sum(count for _, count in self.runs)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What `lisa_jax.json` says.

    Attributes:
      sizes: (height, width) of images and conditions, (frames, height, width) of clips; one a bucket.
      features: the arrays of an example by name.
      base: fingerprint of the base that cached, or None.
      settings: what the data set was made from and how.
      skipped: number of rows left out, listed in report.jsonl.
      splits: the shards of each split.
      empty_context: SHA-256 of the file with the empty caption's context; None where there is none, and in data sets
        of earlier versions.
    """

    sizes: tuple[Size, ...]
    features: Mapping[str, Feature]
    base: str | None
    settings: Mapping[str, Any]
    skipped: int
    splits: Mapping[str, tuple[Shard, ...]]
    empty_context: str | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions."""
        return tuple(self.channels)

    @property
    def channels(self) -> dict[str, int]:
        """Channels of the conditions by name; of what only latents are kept, those of a picture in colours."""
        stored = {feature.path: feature.shapes for feature in self.features.values() if feature.path[0] in _CONDITIONS}
        return {name: shapes[0][-1] if kind == "condition" else RGB for (kind, name), shapes in stored.items()}

    @property
    def cached(self) -> tuple[str, ...]:
        """What is stored of ("moments", "context")."""
        stored = {feature.path[0] for feature in self.features.values()}
        return tuple(name for name in ("moments", "context") if name in stored)

    @property
    def hashed(self) -> bool:
        """Whether the hashes of all shards are noted, as they are since version 3."""
        return all(shard.sha256 and shard.ends for shards in self.splits.values() for shard in shards)

    def fingerprint(self) -> str:
        """SHA-256 over all that training may read, by the shards' hashes: tells one data set from another."""
        content = {name: value for name, value in vars(self).items() if name not in ("settings", "skipped")}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=vars).encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write `lisa_jax.json`, in one rename."""
        content = {"version": VERSION, "fingerprint": self.fingerprint(), **vars(self)}
        write_whole_text(folder / METADATA_FILE, json.dumps(content, default=vars) + "\n")

    @staticmethod
    def read(folder: Path) -> "Metadata":
        """Read `lisa_jax.json`.

        Raises:
          FileNotFoundError: there is none.
          ValueError: it was written by a version that is not known, or is not as it was written.
        """
        path = folder / METADATA_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: set config.data.dir to the --out folder of a finished `lisa_jax prepare`; where a "
                "run's data have moved, its `train` command with that tells it so, also when all steps are done."
            )
        try:
            content = read_object(path)
            version = typed(content.pop("version", None), int, "version")
            if version not in (1, 2, VERSION):
                raise ValueError(
                    f"{path} has version {version}, but this is version {VERSION}: prepare the data set again."
                )
            return _parsed(content, version)
        except JsonError as error:
            raise ValueError(f"{error}: restore it, or prepare the data set again.") from error
        except TypedError as error:
            raise ValueError(f"{path} is damaged: {error}; restore it, or prepare the data set again.") from error


def _parsed(content: dict[str, Any], version: int) -> Metadata:
    """Raises TypedError for what no data set can be."""
    if version == 1:
        content = first_format.upgraded(content)
    noted = typed(content.pop("fingerprint", None), str, "fingerprint") if version == VERSION else None
    metadata = typed(content, Metadata)
    for problem in _problems(metadata):
        raise TypedError(problem)
    if noted is not None and metadata.fingerprint() != noted:
        raise TypedError("its content has changed since it was written")
    return metadata


def _problems(metadata: Metadata) -> Iterator[str]:
    """What is wrong though every value is of its type: nothing that is read later need be checked again."""
    for index, size in enumerate(metadata.sizes):
        if len(size) not in (2, 3) or min(size) < 1:
            yield f"sizes[{index}] is {list(size)}, but sides are two or three, each 1 or more"
    if metadata.skipped < 0:
        yield f"skipped is {metadata.skipped}, but must be 0 or more"
    paths = [feature.path for feature in metadata.features.values()]
    if sum(path in (("moments",), ("image",)) for path in paths) != 1:
        yield "features must have either moments or image"
    for name, feature in metadata.features.items():
        if any(other[: len(feature.path)] == feature.path for other in paths if other is not feature.path):
            yield f"features.{name}.path is {list(feature.path)}, which another feature's begins with"
        if not feature.path or (feature.path[0] in _CONDITIONS and len(feature.path) != 2):
            yield f"features.{name}.path is {list(feature.path)}, which is no place"
        if not _is_dtype(feature.dtype):
            yield f"features.{name}.dtype is {feature.dtype!r}, which is no dtype"
        if len(feature.shapes) != len(metadata.sizes):
            yield f"features.{name}.shapes has {len(feature.shapes)} shapes for {len(metadata.sizes)} sizes"
        if any(side < 0 for shape in feature.shapes for side in shape):
            yield f"features.{name}.shapes has a side below 0"
        if feature.path[:1] == ("condition",) and not _are_pictures(feature.shapes):
            yield f"features.{name}.shapes are not of pictures of the same 1 to {MOST_CHANNELS} channels"
    files = [shard.file for shards in metadata.splits.values() for shard in shards]
    if len(set(files)) < len(files):
        yield "splits names a file more than once"
    for split, shards in metadata.splits.items():
        for index, shard in enumerate(shards):
            yield from _problems_of_shard(shard, f"splits.{split}[{index}]", len(metadata.sizes))


def _problems_of_shard(shard: Shard, place: str, sizes: int) -> Iterator[str]:
    if shard.file in ("", ".", "..") or "/" in shard.file or "\0" in shard.file:
        yield f"{place}.file is {shard.file!r}, but must be the name of a file in the folder"
    if any(not 0 <= size < sizes or count < 0 for size, count in shard.runs):
        yield f"{place}.runs names a size that there is not, or a count below 0"
    # A record takes a byte at least: nothing is set aside for more examples than a file can hold.
    if shard.examples > shard.bytes:
        yield f"{place} has {shard.examples:,} examples in {shard.bytes:,} bytes"


def _are_pictures(shapes: tuple[tuple[int, ...], ...]) -> bool:
    channels = {shape[-1] for shape in shapes if shape}
    return all(shapes) and len(channels) == 1 and channels <= set(range(1, MOST_CHANNELS + 1))


def _is_dtype(name: str) -> bool:
    try:
        return jnp.dtype(name).kind in "biufV" and not jnp.dtype(name).hasobject
    except TypeError:
        return False
