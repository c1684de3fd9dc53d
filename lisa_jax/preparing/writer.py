"""Shards on disk: a chunk of rows is either absent or whole, and so is the data set.

Work goes on in `<out>.partial`. A finished chunk appears there by one rename, and the finished data set by another one,
so that a process killed at any moment leaves nothing that would be taken for data.
"""

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from lisa_jax.checkpoints.safetensors_file import write_safetensors
from lisa_jax.data.prepared.layout import DATASET, EMPTY_CONTEXT_FILE, named_leaves, shard_file, tfds_features
from lisa_jax.data.prepared.metadata import METADATA_FILE, Metadata, Shard
from lisa_jax.data.prepared.paths import Tree
from lisa_jax.data.prepared.shard_hashes import ends_of
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.lock import Lock
from lisa_jax.files.sha256 import sha256_of
from lisa_jax.files.whole_file import write_whole_text
from lisa_jax.preparing.chunk import SPLITS, Chunk, ChunkWriter, chunk_shard, matches
from lisa_jax.preparing.report import Note, Skipped, merged, write_report
from lisa_jax.preparing.settings import check_same

_LOG = logging.getLogger("lisa_jax")

# Of records in chunks, which a continued preparation must share.
_CHUNK_FORMAT = 4
_SETTINGS_FILE = "settings.json"
_LOCK_FILE = ".lock"


class WorkFolder:
    """The folder `<out>.partial` while a data set is being prepared."""

    def __init__(self, out: str | Path, settings: Mapping[str, Any]):
        """Begins a data set, or continues one.

        Args:
          out: where the finished data set shall appear.
          settings: JSON values that decide what is written, see `preparing.settings`.

        Raises:
          ValueError: `out` or what was begun for it has other settings, or another process is writing it.
          FileExistsError: `out` is something else.
        """
        # Absolute, for "." has no name.
        self.out = Path(out).absolute()
        # What is to be told of rows that are used, once it is finished.
        self.notes: list[Note] = []
        # As they are read back.
        self.settings = json.loads(json.dumps(dict(settings)))
        self.finished = self._is_finished()
        if self.finished:
            return
        self.folder = self.out.with_name(self.out.name + ".partial")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_folder()
        self._check_begun()
        for unfinished in self.folder.glob("chunk-*.tmp"):
            shutil.rmtree(unfinished)
        if (self.folder / METADATA_FILE).is_file():
            self._publish()

    def chunk_done(self, index: int) -> bool:
        """Whether a chunk is on disk already; one that a crash of the machine has damaged is removed."""
        folder = self._chunk(index)
        if not folder.exists():
            return False
        try:
            chunk = Chunk.read(folder)
            # Once all chunks are done, their shards are moved one after the other.
            whole = self._is_moving() or chunk.is_whole(folder)
        except (OSError, ValueError):
            whole = False
        if not whole:
            _LOG.warning("%s is damaged: its rows are prepared again.", folder)
            shutil.rmtree(folder)
        return whole

    def begin_chunk(self, index: int, metadata: Metadata) -> ChunkWriter:
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
          ValueError: no row could be used, or a shard is not there any more.
        """
        written = [Chunk.read(self._chunk(index)) for index in range(chunks)]
        skipped = [row for chunk in written for row in chunk.skipped]
        shards = {split: self._move_shards(split, written) for split in SPLITS}
        shards = {split: found for split, found in shards.items() if found}
        if not shards:
            raise ValueError(f"None of the {len(skipped)} rows could be used; the first one: {_describe(skipped)}")
        context = None if empty_context is None else self._write_empty_context(empty_context)
        metadata = dataclasses.replace(metadata, splits=shards, skipped=len(skipped), empty_context=context)
        _write_tfds_metadata(self.folder, metadata)
        self.notes = merged(note for chunk in written for note in chunk.notes)
        write_report(self.folder, skipped, self.notes)
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

    def _is_moving(self) -> bool:
        return any(self.folder.glob(f"{DATASET}-*"))

    def _is_finished(self) -> bool:
        if not self.out.exists():
            return False
        if not (self.out / METADATA_FILE).is_file():
            raise FileExistsError(f"{self.out} exists already and is no prepared data set: give another --out.")
        check_same(Metadata.read(self.out).settings, self.settings, self.out)
        return True

    def _lock_folder(self) -> None:
        way_out = "wait for it, or give another --out"
        self._lock = Lock(self.folder / _LOCK_FILE, f"preparing {self.out}", way_out)

    def _check_begun(self) -> None:
        path = self.folder / _SETTINGS_FILE
        # Chunks of one data set must be of one format.
        begun = {"format": _CHUNK_FORMAT, **self.settings}
        if (self.folder / METADATA_FILE).is_file():
            check_same(Metadata.read(self.folder).settings, self.settings, self.folder)
        # Settings with which no chunk was finished bind nobody.
        elif path.is_file() and any(self.folder.glob("chunk-??????")):
            try:
                check_same(read_object(path), begun, self.folder)
            except JsonError as error:
                raise ValueError(f"{error}: delete {self.folder} to begin anew.") from error
        else:
            write_whole_text(path, json.dumps(begun, indent=1) + "\n")

    def _move_shards(self, split: str, written: Sequence[Chunk]) -> tuple[Shard, ...]:
        """Rename a split's files; those that a killed process has renamed already are passed over."""
        full = [index for index, chunk in enumerate(written) if chunk.shards[split].runs]
        shards = []
        for number, index in enumerate(full):
            path = self.folder / shard_file(split, number, len(full))
            source, shard = chunk_shard(self._chunk(index), split), written[index].shards[split]
            if source.exists():
                source.rename(path)
            if not matches(path, shard):
                raise ValueError(f"{path} is missing or damaged: delete {self.folder} to begin anew.")
            # Chunks that an earlier version wrote have no hashes.
            hashes = (shard.sha256 or sha256_of(path), shard.ends or ends_of(path))
            shards.append(Shard(path.name, shard.bytes, shard.runs, *hashes))
        return tuple(shards)

    def _write_empty_context(self, context: Tree) -> str:
        """Write the context of the empty caption; returns the file's hash."""
        leaves, path = named_leaves({"context": context}), self.folder / EMPTY_CONTEXT_FILE
        write_safetensors(path, {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}, leaves.get, {})
        return sha256_of(path)


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


def _describe(skipped: Sequence[Skipped]) -> str:
    return f"{skipped[0].where}: {skipped[0].reason}" if skipped else "there are no rows."
