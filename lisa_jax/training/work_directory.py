"""The directory of a run, which belongs to one run at a time."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from lisa_jax.files.home import expanded
from lisa_jax.files.lock import Lock, LockedError
from lisa_jax.parallel.cluster import as_first_finds
from lisa_jax.parallel.messages import one_line

_LOCK_FILE = ".lock"


@contextlib.contextmanager
def claimed(workdir: str | Path) -> Iterator[Path]:
    """Make a work directory and keep other runs out of it while this one trains.

    Of several processes of a run the first one holds the lock; a refusal is told to all.

    Raises:
      ValueError: its name cannot be used, it cannot be written, or another run is training in it.
    """
    workdir = Path(workdir)
    check_name(workdir)
    lock: Lock | None = None

    def take() -> str | None:
        nonlocal lock
        try:
            lock = Lock(workdir / _LOCK_FILE, f"training in {workdir}", "wait for it, or give another --workdir")
        except LockedError as error:
            return str(error)
        except OSError as error:
            return f"{workdir} cannot be used ({one_line(error)}): give another --workdir."
        return None

    if refused := as_first_finds(take):
        raise ValueError(refused)
    try:
        yield workdir
    finally:
        if lock is not None:
            lock.release()


def check_name(workdir: str | Path, *, to_write: bool = True) -> None:
    """Refuse names that the storage of checkpoints takes for patterns, or for other names: it would lose them.

    Raises:
      ValueError: such a name, also of a folder above; or an address.
    """
    if re.match(r"[a-z0-9]+:/", str(workdir)):
        raise ValueError(f"--workdir {workdir} is an address, but must be a folder: mount it, and name where.")
    if (meant := expanded(workdir)) != Path(workdir):
        raise ValueError(f"--workdir {workdir} begins with a ~ that the shell has left as it is: write {meant}.")
    path = Path(workdir).absolute()
    # Orbax looks for what the processes have written by a pattern; TensorStore reads `\` as `/`.
    if found := sorted(set("*?[\\" if to_write else "\\") & set(str(path))):
        raise ValueError(
            f"--workdir {path} has {' and '.join(found)} in its name, which checkpoints do not allow: give another "
            "--workdir, or rename it."
        )
