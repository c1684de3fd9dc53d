"""Saying so when the input keeps training waiting."""

import logging
import threading
from collections.abc import Iterator
from typing import TypeVar

import jax

from lisa_jax.data.prepared.reads import oldest_read

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

SLOW_SECONDS = 60.0


def watched(batches: Iterator[T], start_step: int, seconds: float = SLOW_SECONDS) -> Iterator[T]:
    """The same batches; one that takes longer than `seconds` is reported while it is waited for, every time anew.

    The report names the step, the process and, where it is known, the file and record that is being read.
    """
    step = start_step
    while True:
        with _Alarm(step, seconds):
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch
        step += 1


class _Alarm:
    def __init__(self, step: int, seconds: float):
        self._step = step
        self._seconds = seconds
        self._waited = 0.0
        self._has_come = False

    def __enter__(self) -> None:
        self._start()

    def __exit__(self, *_: object) -> None:
        self._has_come = True
        self._timer.cancel()

    def _start(self) -> None:
        self._timer = threading.Timer(self._seconds, self._report)
        self._timer.daemon = True
        self._timer.start()

    def _report(self) -> None:
        if self._has_come:
            return
        self._waited += self._seconds
        read = oldest_read()
        # An error, so that it is told by every process: one of them holds up all others, which cannot know why.
        _LOG.error(
            "Process %d of %d has waited %.0f s for the batch of step %d: %s.",
            jax.process_index(),
            jax.process_count(),
            self._waited,
            self._step,
            f"it is reading {read}" if read else "it is not reading from a prepared data set",
        )
        self._start()
