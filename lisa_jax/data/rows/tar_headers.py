"""The headers of tar files of others: what lies where, without the contents, in bounded time and memory."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from lisa_jax.data.rows.row import RowError
from lisa_jax.parallel.messages import one_line

_BLOCK = 512
# Of a header that goes on: long names, attributes. GNU tar and Python write a few hundred bytes.
_MAX_HEADER = 2**20


def files_of(shard: Path, name: str) -> Iterator[tarfile.TarInfo]:
    """The regular files of a shard, in order; folders are passed over.

    Args:
      shard: an uncompressed tar file.
      name: its name in messages.

    Raises:
      RowError: the shard is damaged, compressed or truncated, or holds what has no contents of its own.
    """
    end = yield from _members(shard, name)
    # tarfile takes a damaged header for the end of the archive, which would lose the rows behind it.
    with shard.open("rb") as file:
        file.seek(end)
        if file.read(_BLOCK).strip(b"\0"):
            raise RowError(f"{name}: the tar file is damaged at byte {end}.")


def _members(shard: Path, name: str) -> Iterator[tarfile.TarInfo]:
    """The regular files; returns where the headers end."""
    size = shard.stat().st_size
    try:
        with _Headers(shard) as headers, tarfile.open(fileobj=headers, mode="r:") as tar:
            offset = -1
            while (member := tar.next()) is not None:
                # tarfile remembers every header otherwise.
                tar.members = []
                if member.issparse() or not (member.isreg() or member.isdir()):
                    kind = "is stored sparsely" if member.issparse() else "is a link, a pipe or a device"
                    raise RowError(f"{name}: {member.name!r} {kind}: pack the files themselves (tar --dereference).")
                if not (offset < tar.offset and 0 <= member.size <= size - member.offset_data):
                    raise tarfile.ReadError(f"{member.name!r} cannot have {member.size:,} bytes")
                offset = tar.offset
                if member.isreg():
                    yield member
            return tar.offset
    except RowError:
        raise
    # Beside its own errors, tarfile lets through what numbers and nesting without sense lead to.
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, RecursionError, IndexError) as error:
        raise RowError(
            f"{name}: not a readable tar file ({one_line(error, 200)}); compressed shards must be unpacked first."
        ) from error


class _Headers:
    """A file for tarfile, which believes the sizes that headers claim, and reads on at the end of the file."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._reads_at_end = 0
        self.name = os.fspath(path)

    def __enter__(self) -> "_Headers":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes at byte {self.tell()}")
        data = self._file.read(size)
        self._reads_at_end += not data and size > 0
        if self._reads_at_end > 10:
            raise tarfile.ReadError("a header goes on after the end of the file")
        return data
