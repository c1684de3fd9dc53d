"""What a command has reached, told and written as it happens, and an end to it when its time is over."""

import json
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("lisa_jax")
# Exit status of a command whose time was over.
TIME_IS_OVER = 4


class Phases:
    """A line for each phase of a command, in the log and, as one JSON object, at the end of a file.

    Args:
      file: where the lines go; None: into the log only.
      seconds: after which the process ends itself with `TIME_IS_OVER`, whatever it is at: XLA's compiler cannot be
        interrupted. None: never.
    """

    def __init__(self, file: str | Path | None = None, seconds: float | None = None):
        self._start, self._file = time.perf_counter(), file
        if seconds is not None:
            threading.Thread(target=self._end_after, args=(seconds,), daemon=True).start()

    def reached(self, phase: str, **found: Any) -> None:
        """Tell a phase with what was found in it, and the seconds since the start."""
        line = {"phase": phase, "seconds": round(time.perf_counter() - self._start, 1)} | found
        told = ", ".join(f"{name} {value}" for name, value in found.items())
        _LOG.info("%.1f s: %s%s", line["seconds"], phase, f" ({told})" if told else "")
        if self._file is not None:
            with open(self._file, "a") as lines:
                lines.write(json.dumps(line) + "\n")

    def _end_after(self, seconds: float) -> None:
        time.sleep(seconds)
        self.reached(f"the {seconds:g} s are over")
        os._exit(TIME_IS_OVER)
