"""Being asked to stop, by SIGTERM or Ctrl-C, without losing a step."""

import os
import signal
from collections.abc import Callable

import jax
from jax.experimental import multihost_utils

from lisa_jax.parallel import stop_signals


class StopRequest:
    """Notes signals while it is open, in place of ending at once, so that the loop can finish its step and save.

    Only from the first step on: before, there is nothing to save, and the process ends as it would without this.
    A second Ctrl-C raises KeyboardInterrupt, or ends the process where it is a command's.
    """

    def __init__(self):
        self._noted: int | None = None
        self._before: dict[int, Callable] | None = None

    def __enter__(self) -> "StopRequest":
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._undo()

    @property
    def name(self) -> str:
        """Of the signal that was noted."""
        return "Ctrl-C" if self._noted == signal.SIGINT else "SIGTERM"

    def asks_to_stop(self, done: int) -> bool:
        """Whether to stop now that `done` steps are done; every process calls it once after every step."""
        if self._before is None:
            self._begin()
        return self._noted is not None if self._alone else multihost_utils.reached_preemption_sync_point(done)

    def _begin(self) -> None:
        # With several processes, JAX catches SIGTERM and agrees on the step after which all of them stop.
        self._alone = jax.process_count() == 1
        numbers = [number for number in stop_signals.caught() if self._alone or number == signal.SIGINT]
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        self._undo = stop_signals.hold_back()

    def _note(self, number: int, _: object) -> None:
        if number == signal.SIGINT and self._noted is not None:
            raise KeyboardInterrupt
        self._noted = self._noted or number
        if not self._alone:
            os.kill(os.getpid(), signal.SIGTERM)
