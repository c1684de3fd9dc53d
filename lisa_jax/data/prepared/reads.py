"""Which record is being read right now, so that storage that hangs can be named."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

# By thread: when its read began, and what names the record. One for the whole process, as its storage is.
_under_way: dict[int, tuple[float, Callable[[], str]]] = {}


@contextlib.contextmanager
def reading(where: Callable[[], str]) -> Iterator[None]:
    """Note that this thread reads a record while the context is open; `where()` names it, if it is asked for."""
    thread = threading.get_ident()
    _under_way[thread] = time.monotonic(), where
    try:
        yield
    finally:
        del _under_way[thread]


def oldest_read() -> str | None:
    """The record whose reading began first of those that are not done, with its age; None where there is none."""
    under_way = list(_under_way.values())
    if not under_way:
        return None
    start, where = min(under_way, key=lambda read: read[0])
    return f"{where()}, for {time.monotonic() - start:.0f} s"
