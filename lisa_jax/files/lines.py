"""Text files that grow line by line, where a process may have been killed within a line."""

from collections.abc import Sequence
from pathlib import Path


def append_lines(path: str | Path, lines: Sequence[str]) -> None:
    """Add lines to a file in UTF-8; half a line that a killed process left there is cut off first."""
    with Path(path).open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(f"{line}\n" for line in lines).encode())
