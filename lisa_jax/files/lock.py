"""One process at a time in a folder: locks that end with their process, however it ends, and say whose they are.

`flock` keeps others out. On file systems over a network it may hold for one machine alone, or not be there at all, so
that the lock's file is the second line: it names host and process, and its time moves while that process lives.
"""

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from lisa_jax.files.json_object import JsonError, parse_object

_LOG = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
# A process that has given no sign of life for so long is gone.
PATIENCE_SECONDS = 16.0
# How file systems say that they know no flock.
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class LockedError(ValueError):
    """Another process is at work there."""


class Lock:
    """Held until it is released, nobody refers to it any more, or its process ends; also a context manager.

    Args:
      path: the lock's file; its folder is made, and the file is gone after the release.
      doing: what its holder does, for others: "training in runs/a".
      way_out: what they can do about it: "wait for it, or give another --workdir".

    Raises:
      LockedError: another process holds it.
    """

    def __init__(self, path: str | Path, doing: str, way_out: str):
        self._path, self._doing, self._way_out = Path(path), doing, way_out
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file, excludes = self._open_and_lock()
        try:
            self._refuse_the_living(excludes)
            self._sign()
        except BaseException:
            self._file.close()
            raise
        self._released = threading.Event()
        arguments = (weakref.ref(self), self._released)
        threading.Thread(target=_beat, args=arguments, name=f"lock of {path}", daemon=True).start()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others in."""
        self._released.set()
        with contextlib.suppress(OSError):
            # The folder may have moved, and another one taken its place.
            if _is_at(self._file, self._path):
                self._path.unlink()
        self._file.close()

    def _open_and_lock(self) -> tuple[TextIO, bool]:
        """The file, and whether a flock on it keeps out the other processes of this machine."""
        while True:
            file = self._path.open("a+", encoding="utf-8", errors="replace")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._taken(_holder(file)) from None
            except OSError as error:
                if error.errno not in _NO_FLOCK:
                    raise
                return file, False
            # Who held it before may have removed it meanwhile.
            if _is_at(file, self._path):
                return file, True
            file.close()

    def _refuse_the_living(self, excludes: bool) -> None:
        """Raise for a holder whom flock did not keep out, once it gives a sign of life."""
        holder = _holder(self._file)
        here = holder.get("host") == socket.gethostname()
        if not holder or (here and (excludes or not _runs(holder.get("process")))):
            return
        _LOG.warning(
            "%s was being used by %s: waiting up to %.0f s for a sign of life.",
            self._path.parent,
            _described(holder),
            PATIENCE_SECONDS,
        )
        seen, until = _last_beat(self._path), time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            time.sleep(BEAT_SECONDS / 10)
            beat = _last_beat(self._path)
            if beat is None:
                return
            if beat != seen:
                raise self._taken(holder)

    def _taken(self, holder: dict[str, Any]) -> LockedError:
        return LockedError(f"Another process is {self._doing} ({_described(holder)}): {self._way_out}.")

    def _sign(self) -> None:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"host": socket.gethostname(), "process": os.getpid(), "since": since}
        self._file.truncate(0)
        self._file.write(json.dumps(holder) + "\n")
        self._file.flush()

    def touch(self) -> None:
        """Give a sign of life."""
        # A file system that fails for a while is no reason to stop; the file may have been closed just now.
        with contextlib.suppress(OSError, ValueError):
            os.utime(self._file.fileno())


def _beat(lock: "weakref.ref[Lock]", released: threading.Event) -> None:
    while not released.wait(BEAT_SECONDS):
        held = lock()
        if held is None:
            return
        held.touch()
        del held


@contextlib.contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Wait until no other process is within; `path` is the lock's file, which stays. Its folder is made.

    For moments: where the file system has no flock, nobody is kept out.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
        yield


def _holder(file: TextIO) -> dict[str, Any]:
    """What a holder has written: host, process and since when; {} where nothing readable is there."""
    file.seek(0)
    text = file.read()
    with contextlib.suppress(JsonError):
        return parse_object(text, "lock") if text else {}
    return {}


def _described(holder: dict[str, Any]) -> str:
    if not holder:
        return "which one it does not say"
    return f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}"


def _runs(process: Any) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _last_beat(path: Path) -> int | None:
    """When a lock's file was last touched; None where it is gone. Opened anew: NFS else tells what it remembers."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None


def _is_at(file: TextIO, path: Path) -> bool:
    """Whether the open file is the one that has this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
