"""Files that have their name only when they are whole, so that a killed process leaves nothing to be taken for one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lisa_jax.files.naming import naming


def write_whole(path: str | Path, write: Callable[[Path], Any]) -> None:
    """Put a file in place of what was there, at once.

    Args:
      path: the file; its folder is there.
      write: writes it to the path that it is given, in the same folder. What it raises leaves nothing behind.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with naming(path):
            write(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole_text(path: str | Path, text: str) -> None:
    """The same for UTF-8 text."""
    write_whole(path, lambda partial: partial.write_text(text, encoding="utf-8"))
