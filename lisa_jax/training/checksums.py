"""Checksums of a folder's files, in a file beside them: storage that changes a bit is noticed when it is read.

CRC-32, which notices every change of up to 32 neighbouring bits: against accidents, not against people. zlib computes
some 3 GB/s on one core.
"""

import errno
import json
import zlib
from pathlib import Path

from lisa_jax.files.json_object import JsonError, read_object

FILE = "checksums.json"
_CHUNK_BYTES = 2**24
# Errors about who reads, or when, which say nothing about what is read.
NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)


def write_checksums(folder: str | Path) -> None:
    """Write size and checksum of every file below a folder, which is complete, to `checksums.json` in it."""
    folder = Path(folder)
    found = {name: _measured(folder / name) for name in _files(folder)}
    (folder / FILE).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def find_damage(folder: str | Path) -> str | None:
    """What in a folder is not as its checksums say, in some words; None where all is, or where there are none.

    Raises:
      OSError: the folder cannot be read just now, which says nothing about it (`NOT_DAMAGE`).
    """
    folder = Path(folder)
    if not (folder / FILE).exists():
        return None
    try:
        for name, expected in read_object(folder / FILE).items():
            if not (folder / name).is_file():
                return f"{folder.name}/{name} is missing"
            if _measured(folder / name) != expected:
                return f"{folder.name}/{name} has been changed: its checksum is not the one that it was written with"
    except (JsonError, ValueError) as error:
        return f"{folder.name}: {error}"
    except OSError as error:
        if error.errno in NOT_DAMAGE:
            raise
        return f"{folder.name}: {error}"
    return None


def _files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _measured(path: Path) -> list[int]:
    """Size in bytes and CRC-32."""
    size, checksum = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    return [size, checksum]
