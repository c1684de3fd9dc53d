"""Telling that training waits for its input, which would otherwise look like a run that hangs."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import jax

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

SLOW_SECONDS = 60.0


def watched(
    batches: Iterator[T],
    start_step: int,
    reading: Callable[[], str | None] = lambda: None,
    seconds: float = SLOW_SECONDS,
) -> Iterator[T]:
    """The same batches; one that is waited for longer than `seconds` is reported, again after as long.

    Args:
      batches: of the steps from `start_step` on.
      start_step: the first batch's, for the report, which also names the process.
      reading: what is being read, asked when a report is due; None where nothing is, or it is not known.
      seconds: between two reports.
    """
    step = start_step
    while True:
        with _Alarm(step, reading, seconds):
            try:
                batch = next(batches)
            except StopIteration:
                return
        yield batch
        step += 1


class _Alarm:
    """Reports a wait from a thread of its own, for the loop's is the one that waits."""

    def __init__(self, step: int, reading: Callable[[], str | None], seconds: float):
        self._step = step
        self._reading = reading
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
        # The timer may have been about to run when it was cancelled.
        if self._has_come:
            return
        self._waited += self._seconds
        read = self._reading()
        # An error, so that it is told by every process: one of them holds up all others, which cannot know why.
        _LOG.error(
            "Process %d of %d has waited %.0f s for the batch of step %d: %s.",
            jax.process_index(),
            jax.process_count(),
            self._waited,
            self._step,
            f"it is reading {read}" if read else "what it is reading is not known",
        )
        self._start()
