"""Text files that grow line by line, where a process may have been killed within a line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lisa_jax.files.json_object import parse_object
from lisa_jax.files.naming import naming
from lisa_jax.files.regular_file import read_regular

_LARGEST_BYTES = 2**30


def append_lines(path: str | Path, lines: Sequence[str]) -> None:
    """Add lines to a file in UTF-8; half a line that a killed process left there is cut off first."""
    with naming(path), Path(path).open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(f"{line}\n" for line in lines).encode())


def read_objects(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and JSON object of every line of a file in UTF-8; a last line without an end was cut short and is left out.

    Raises:
      OSError, IrregularFileError: the file cannot be read, or has more than 1 GB.
      JsonError: a line that is no JSON object, by number.
    """
    data = read_regular(path, _LARGEST_BYTES)
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n"), 1):
        if line.strip():
            where = f"{path} line {number}"
            yield where, parse_object(line, where)
