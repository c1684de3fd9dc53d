"""Being asked to stop, without losing a step."""

import signal

import jax
from jax.experimental import multihost_utils


class Sigterm:
    """Notes SIGTERM while it is open, in place of ending at once, so that the loop can finish its step and save."""

    def __enter__(self) -> "Sigterm":
        self._noted = False
        # With several processes, JAX catches the signal and agrees on the step after which all of them stop.
        self._alone = jax.process_count() == 1
        if self._alone:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._alone:
            signal.signal(signal.SIGTERM, self._before)

    def asks_to_stop(self, done: int) -> bool:
        """Whether to stop now that `done` steps are done; every process calls it once after every step."""
        return self._noted if self._alone else multihost_utils.reached_preemption_sync_point(done)

    def _note(self, *_: object) -> None:
        self._noted = True
