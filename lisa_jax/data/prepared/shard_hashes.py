"""Hashes of shards, beside the one of the whole file (`sha256_of`): one that is quick to check.

Within a shard nothing need be checked: ArrayRecord keeps a hash of every record and refuses one that does not have it.
What it cannot know is whether the file is the one that belongs there.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from array_record.python import array_record_module

from lisa_jax.data.prepared.metadata import Metadata, Shard
from lisa_jax.files.sha256 import sha256_of

# The first block of an ArrayRecord file holds its first records, with a hash of each; the last one the place and the
# size of every record.
_BLOCK = 2**16
# Storage in the network answers late, but many at a time.
_THREADS = 16


def ends_of(path: Path) -> str:
    """SHA-256 over the first and the last 64 KiB of a file: a shard of other records has other ones."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_BLOCK))
        file.seek(max(0, path.stat().st_size - _BLOCK))
        digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def records_of_shards(folder: Path, shards: Sequence[Shard]) -> list[int]:
    """How many records each shard has, as it says itself; two short reads of each."""

    def count(shard: Shard) -> int:
        reader = array_record_module.ArrayRecordReader(str(folder / shard.file))
        records = reader.num_records()
        reader.close()
        return records

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(count, shards))


def ends_of_shards(folder: Path, shards: Sequence[Shard]) -> list[str]:
    """`ends_of` each shard; two short reads of each."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda shard: ends_of(folder / shard.file), shards))


def fingerprint_of(folder: Path, metadata: Metadata, empty_context: Path | None) -> str:
    """What tells a data set from another, wherever it lies.

    Since version 3 it is `Metadata.fingerprint` of what `prepare` noted: whatever differs in a record, it differs.
    For data sets of earlier versions, which have no hashes, it is made of their metadata, the context of the empty
    caption and every shard's size and `ends_of`, which are read now: it differs with the first record of a shard, and
    with the number, the order and the stored length of any; not with a later record alone that is another one of the
    same length.
    """
    if metadata.hashed:
        return metadata.fingerprint()
    splits = {
        split: tuple(
            dataclasses.replace(shard, ends=ends)
            for shard, ends in zip(shards, ends_of_shards(folder, shards), strict=True)
        )
        for split, shards in metadata.splits.items()
    }
    context = None if empty_context is None else sha256_of(empty_context)
    return dataclasses.replace(metadata, splits=splits, empty_context=context).fingerprint()
