"""Temporary folders that no end of a command leaves behind, but for a kill."""

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lisa_jax.parallel import stop_signals


@contextlib.contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder, removed at the end, also where Ctrl-C or SIGTERM ends a command within.

    Args:
      prefix: of its name.
      parent: where it is made; by default where the system has its temporary files.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as folder:
        undo = stop_signals.before_end(functools.partial(shutil.rmtree, folder, ignore_errors=True))
        try:
            yield Path(folder)
        finally:
            undo()
