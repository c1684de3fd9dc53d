"""Bytes of files that others name: never a pipe, a device or a folder, and never more than asked for."""

import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class IrregularFileError(ValueError):
    """What a path leads to is not read: no regular file, or too large; the message begins with the path."""


def check_regular(path: str | Path, at_most: int | None = None) -> None:
    """Refuse what must not even be opened: a pipe would be waited for, a device never ends.

    Raises:
      OSError: there is nothing, or nothing that may be seen.
      IrregularFileError: it is no regular file, or has more than `at_most` bytes.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise IrregularFileError(f"{str(path)!r} is {kind}, but must be a file")
    if at_most is not None and found.st_size > at_most:
        raise IrregularFileError(f"{str(path)!r} has {found.st_size:,} bytes, but more than {at_most:,} are refused")


def read_regular(path: str | Path, at_most: int) -> bytes:
    """The contents of a regular file of `at_most` bytes.

    Raises:
      OSError: it cannot be read.
      IrregularFileError: it is no regular file, or larger.
    """
    check_regular(path, at_most)
    with Path(path).open("rb") as file:
        # Files of /proc and those that grow say another size than they have.
        data = file.read(at_most + 1)
    if len(data) > at_most:
        raise IrregularFileError(f"{str(path)!r} has more than {at_most:,} bytes, which are refused")
    return data
