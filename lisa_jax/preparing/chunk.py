"""A chunk of a data set that is being prepared: its shards, a file a split, and what describes them."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from array_record.python import array_record_module
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from lisa_jax.data.prepared.layout import name_of_another, named_leaves, tfds_features
from lisa_jax.data.prepared.metadata import Metadata
from lisa_jax.data.prepared.paths import Tree
from lisa_jax.data.prepared.shard_hashes import ends_of
from lisa_jax.files.json_object import read_object
from lisa_jax.files.sha256 import sha256_of
from lisa_jax.files.typed import typed
from lisa_jax.parallel.messages import one_line
from lisa_jax.preparing.report import Note, Skipped

SPLITS = ("train", "test")
# One record a group: random access reads nothing else. zstd below level 0 shortens runs and repetitions only: drawn
# conditions (edges, poses, maps) go down to a few percent, cached encodings stay as they are, and all of it is read
# sooner than it would be uncompressed.
ZSTD_LEVEL = -1
COMPRESSED = f"group_size:1,zstd:{ZSTD_LEVEL}"
# Photographs hardly shrink.
UNCOMPRESSED = "group_size:1,uncompressed"
_WORTH_COMPRESSING = 2 / 3

_CHUNK_FILE = "chunk.json"


@dataclasses.dataclass(frozen=True)
class ChunkShard:
    """A split of a chunk; fields as those of `Shard`. Without examples there is no file, and bytes are 0."""

    bytes: int
    runs: tuple[tuple[int, int], ...]
    sha256: str | None = None
    ends: str | None = None


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A finished chunk, as it describes itself.

    Attributes:
      shards: by split.
      skipped: its rows that were left out.
      notes: what is to be told of others.
      digest: hash of all that; None in chunks of earlier versions.
    """

    shards: Mapping[str, ChunkShard]
    skipped: tuple[Skipped, ...]
    notes: tuple[Note, ...] = ()
    digest: str | None = None

    @staticmethod
    def read(folder: Path) -> "Chunk":
        """Read what `ChunkWriter` wrote; raises ValueError where it is no such thing, FileNotFoundError without one."""
        return typed(read_object(folder / _CHUNK_FILE), Chunk)

    def is_whole(self, folder: Path) -> bool:
        """Whether it is as it was written, and so are its shards in its folder, as far as `matches` sees."""
        if self.digest not in (None, self.digested().digest) or set(self.shards) != set(SPLITS):
            return False
        return all(matches(chunk_shard(folder, split), shard) for split, shard in self.shards.items() if shard.runs)

    def digested(self) -> "Chunk":
        """The same with its digest."""
        told = json.dumps([self.shards, self.skipped, self.notes], default=vars)
        return dataclasses.replace(self, digest=hashlib.sha256(told.encode()).hexdigest())


def chunk_shard(folder: Path, split: str) -> Path:
    """The file of a chunk's split, until the data set is finished."""
    return folder / f"{split}.array_record"


def matches(path: Path, shard: ChunkShard) -> bool:
    """Whether a file has a shard's size and ends."""
    return path.is_file() and path.stat().st_size == shard.bytes and shard.ends in (None, ends_of(path))


class ChunkWriter:
    """Writes the shards of one chunk, a file a split, in a private folder; `close` lets the chunk appear.

    Both raise OSError for what cannot be written, as on a full disk.
    """

    def __init__(self, folder: Path, metadata: Metadata):
        self._final = folder
        self._folder = folder.with_name(folder.name + ".tmp")
        self._folder.mkdir()
        self._features = tfds_features(metadata)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())
        self._writers: dict[str, Any] = {}
        self._runs: dict[str, list[list[int]]] = {split: [] for split in SPLITS}

    def write(
        self, split: str, size_index: int, caption: str, inputs: Tree, others: Sequence[tuple[str, Tree]] = ()
    ) -> None:
        """Append an example to a split; `others` are its further captions, with the inputs that differ with them."""
        encoded = self._features.encode_example({"caption": caption, **named_leaves(inputs)})
        example = self._serializer.get_tf_example(encoded)
        for number, (other, tree) in enumerate(others, 1):
            leaves = {name: leaf.tobytes() for name, leaf in named_leaves(tree).items()}
            for name, value in {"caption": other.encode(), **leaves}.items():
                example.features.feature[name_of_another(name, number)].bytes_list.value.append(value)
        # Otherwise the order of the features is another one in every process.
        record = example.SerializeToString(deterministic=True)
        with _written_to(path := chunk_shard(self._folder, split)):
            if split not in self._writers:
                self._writers[split] = array_record_module.ArrayRecordWriter(str(path), writer_options(record))
            self._writers[split].write(record)
        runs = self._runs[split]
        if runs and runs[-1][0] == size_index:
            runs[-1][1] += 1
        else:
            runs.append([size_index, 1])

    def close(self, skipped: Iterable[Skipped], notes: Iterable[Note] = ()) -> None:
        """Finish the files; `skipped` are the rows of this chunk that were left out, `notes` what to tell of others."""
        for split, writer in self._writers.items():
            with _written_to(chunk_shard(self._folder, split)):
                writer.close()
        chunk = Chunk({split: self._shard(split) for split in SPLITS}, tuple(skipped), tuple(notes)).digested()
        (self._folder / _CHUNK_FILE).write_text(json.dumps(vars(chunk), default=vars) + "\n", encoding="utf-8")
        self._folder.rename(self._final)

    def _shard(self, split: str) -> ChunkShard:
        path, runs = chunk_shard(self._folder, split), tuple(map(tuple, self._runs[split]))
        return ChunkShard(path.stat().st_size, runs, sha256_of(path), ends_of(path)) if runs else ChunkShard(0, ())


@contextlib.contextmanager
def _written_to(path: Path) -> Iterator[None]:
    try:
        yield
    # What ArrayRecord raises for any failure of its own.
    except RuntimeError as error:
        raise OSError(
            f"{path} cannot be written ({one_line(error, 200)}): when there is room for it, the same command goes on."
        ) from error


def writer_options(record: bytes) -> str:
    """Options of the ArrayRecord file that begins with this record: zstd where that makes it much smaller."""
    compressed = pyarrow.Codec("zstd", compression_level=ZSTD_LEVEL).compress(record)
    return COMPRESSED if compressed.size < _WORTH_COMPRESSING * len(record) else UNCOMPRESSED
