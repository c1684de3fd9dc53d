"""Shards on disk: a chunk of rows is either absent or whole, and so is the data set.

Work goes on in `<out>.partial`. A finished chunk appears there by one rename, and the finished data set by another one,
so that a process killed at any moment leaves nothing that would be taken for data.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from safetensors.numpy import save_file
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from lisa_jax.data.prepared.layout import (
    DATASET,
    EMPTY_CONTEXT_FILE,
    METADATA_FILE,
    VERSION,
    Metadata,
    Shard,
    named_leaves,
    shard_file,
    tfds_features,
)
from lisa_jax.data.prepared.paths import Tree
from lisa_jax.files.lock import Lock
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.preparing.report import Skipped, write_report

SPLITS = ("train", "test")
# One record a group: random access reads nothing else. zstd below level 0 shortens runs and repetitions only: drawn
# conditions (edges, poses, maps) go down to a few percent, cached encodings stay as they are, and all of it is read
# sooner than it would be uncompressed.
ZSTD_LEVEL = -1
COMPRESSED = f"group_size:1,zstd:{ZSTD_LEVEL}"
# Photographs hardly shrink.
UNCOMPRESSED = "group_size:1,uncompressed"
_WORTH_COMPRESSING = 2 / 3

_SETTINGS_FILE = "settings.json"
_CHUNK_FILE = "chunk.json"
_LOCK_FILE = ".lock"


class WorkFolder:
    """The folder `<out>.partial` while a data set is being prepared."""

    def __init__(self, out: str | Path, settings: Mapping[str, Any]):
        """Begins a data set, or continues one.

        Args:
          out: where the finished data set shall appear.
          settings: JSON values that decide what is written.

        Raises:
          ValueError: `out` or what was begun for it has other settings, or another process is writing it.
          FileExistsError: `out` is something else.
        """
        self.out = Path(out)
        self.folder = self.out.with_name(self.out.name + ".partial")
        # As they are read back.
        self.settings = json.loads(json.dumps(dict(settings)))
        self.finished = self._is_finished()
        if self.finished:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_folder()
        self._check_begun()
        for unfinished in self.folder.glob("chunk-*.tmp"):
            shutil.rmtree(unfinished)
        if (self.folder / METADATA_FILE).is_file():
            self._publish()

    def chunk_done(self, index: int) -> bool:
        """Whether a chunk is on disk already."""
        return (self._chunk(index) / _CHUNK_FILE).is_file()

    def begin_chunk(self, index: int, metadata: Metadata) -> "ChunkWriter":
        """A writer of one chunk; `metadata` gives the features."""
        return ChunkWriter(self._chunk(index), metadata)

    def finish(self, chunks: int, metadata: Metadata, empty_context: Tree | None) -> Metadata:
        """Give the shards their final names, write what describes them, and let the data set appear.

        Args:
          chunks: how many there are, all of them done.
          metadata: of the data set, without its shards.
          empty_context: context of the empty caption, where contexts are cached.

        Returns:
          the metadata with its shards.
        Raises:
          ValueError: no row could be used.
        """
        written = [json.loads((self._chunk(index) / _CHUNK_FILE).read_text("utf-8")) for index in range(chunks)]
        skipped = [Skipped(**row) for chunk in written for row in chunk["skipped"]]
        shards = {split: self._move_shards(split, written) for split in SPLITS}
        shards = {split: found for split, found in shards.items() if found}
        if not shards:
            raise ValueError(f"None of the {len(skipped)} rows could be used; the first one: {_describe(skipped)}")
        metadata = dataclasses.replace(metadata, splits=shards, skipped=len(skipped))
        _write_tfds_metadata(self.folder, metadata)
        write_report(self.folder, skipped)
        if empty_context is not None:
            save_file(named_leaves({"context": empty_context}), self.folder / EMPTY_CONTEXT_FILE)
        # From here on the chunks are not needed any more.
        metadata.write(self.folder)
        self._publish()
        return metadata

    def _publish(self) -> None:
        for path in self.folder.glob("chunk-*"):
            shutil.rmtree(path)
        (self.folder / _SETTINGS_FILE).unlink(missing_ok=True)
        # Locked until it has moved.
        self.folder.rename(self.out)
        (self.out / _LOCK_FILE).unlink()
        self._lock.release()
        self.finished = True

    def _chunk(self, index: int) -> Path:
        return self.folder / f"chunk-{index:06d}"

    def _is_finished(self) -> bool:
        if not self.out.exists():
            return False
        if not (self.out / METADATA_FILE).is_file():
            raise FileExistsError(f"{self.out} exists already and is no prepared data set: give another --out.")
        _check_same(Metadata.read(self.out).settings, self.settings, self.out)
        return True

    def _lock_folder(self) -> None:
        way_out = "wait for it, or give another --out"
        self._lock = Lock(self.folder / _LOCK_FILE, f"preparing {self.out}", way_out)

    def _check_begun(self) -> None:
        path = self.folder / _SETTINGS_FILE
        # Chunks of one data set must be of one format.
        begun = {"format": VERSION, **self.settings}
        if (self.folder / METADATA_FILE).is_file():
            _check_same(Metadata.read(self.folder).settings, self.settings, self.folder)
        elif path.is_file():
            _check_same(json.loads(path.read_text("utf-8")), begun, self.folder)
        else:
            write_whole_text(path, json.dumps(begun, indent=1) + "\n")

    def _move_shards(self, split: str, written: list[dict]) -> tuple[Shard, ...]:
        """Rename a split's files; those that a killed process has renamed already are passed over."""
        full = [index for index, chunk in enumerate(written) if chunk["shards"][split]["runs"]]
        shards = []
        for number, index in enumerate(full):
            name = shard_file(split, number, len(full))
            source = self._chunk(index) / f"{split}.array_record"
            if source.exists():
                source.rename(self.folder / name)
            shard = written[index]["shards"][split]
            shards.append(Shard(name, shard["bytes"], tuple(map(tuple, shard["runs"]))))
        return tuple(shards)


class ChunkWriter:
    """Writes the shards of one chunk, a file a split, in a private folder; `close` lets the chunk appear."""

    def __init__(self, folder: Path, metadata: Metadata):
        self._final = folder
        self._folder = folder.with_name(folder.name + ".tmp")
        self._folder.mkdir()
        self._features = tfds_features(metadata)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())
        self._writers: dict[str, Any] = {}
        self._runs: dict[str, list[list[int]]] = {split: [] for split in SPLITS}

    def write(self, split: str, size_index: int, caption: str, inputs: Tree) -> None:
        """Append an example to a split."""
        encoded = self._features.encode_example({"caption": caption, **named_leaves(inputs)})
        example = self._serializer.get_tf_example(encoded)
        # Otherwise the order of the features is another one in every process.
        record = example.SerializeToString(deterministic=True)
        if split not in self._writers:
            self._writers[split] = array_record_module.ArrayRecordWriter(str(self._path(split)), writer_options(record))
        self._writers[split].write(record)
        runs = self._runs[split]
        if runs and runs[-1][0] == size_index:
            runs[-1][1] += 1
        else:
            runs.append([size_index, 1])

    def close(self, skipped: Iterable[Skipped]) -> None:
        """Finish the files; `skipped` are the rows of this chunk that were left out."""
        for writer in self._writers.values():
            writer.close()
        shards = {
            split: {"bytes": self._path(split).stat().st_size if runs else 0, "runs": runs}
            for split, runs in self._runs.items()
        }
        content = {"shards": shards, "skipped": [dataclasses.asdict(row) for row in skipped]}
        (self._folder / _CHUNK_FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")
        self._folder.rename(self._final)

    def _path(self, split: str) -> Path:
        return self._folder / f"{split}.array_record"


def writer_options(record: bytes) -> str:
    """Options of the ArrayRecord file that begins with this record: zstd where that makes it much smaller."""
    compressed = pyarrow.Codec("zstd", compression_level=ZSTD_LEVEL).compress(record)
    return COMPRESSED if compressed.size < _WORTH_COMPRESSING * len(record) else UNCOMPRESSED


def _write_tfds_metadata(folder: Path, metadata: Metadata) -> None:
    """Write `dataset_info.json` and `features.json`."""
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=DATASET, version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name=""
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=tfds_features(metadata),
        description="Images, conditions and captions, prepared by lisa_jax; lisa_jax.json describes them.",
    )
    info.set_file_format("array_record")
    template = tfds.core.ShardedFileTemplate(dataset_name=DATASET, data_dir=folder, filetype_suffix="array_record")
    info.set_splits(
        tfds.core.splits.SplitDict(
            [
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[shard.examples for shard in shards],
                    num_bytes=sum(shard.bytes for shard in shards),
                    filename_template=template.replace(split=split),
                )
                for split, shards in metadata.splits.items()
            ]
        )
    )
    info.write_to_directory(folder)


def _check_same(begun: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    for name in sorted({*begun, *asked}):
        if begun.get(name) != asked.get(name):
            raise ValueError(
                f"{folder} was made with {name} = {json.dumps(begun.get(name))}, but now it is "
                f"{json.dumps(asked.get(name))}: give the same again, or another --out."
            )


def _describe(skipped: list[Skipped]) -> str:
    return f"{skipped[0].where}: {skipped[0].reason}" if skipped else "there are no rows."
