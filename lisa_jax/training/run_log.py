"""What is told of a run while it trains: means over windows of steps, reports of evaluations, and a bar."""

import time
from collections.abc import Mapping
from pathlib import Path

import jax
import optax
from ml_collections import ConfigDict
from tqdm import tqdm

from lisa_jax import metrics
from lisa_jax.metrics import LossMetrics
from lisa_jax.training.experiment import Report
from lisa_jax.training.finite import check_finite
from lisa_jax.training.tracking import Record

# Metric -> how the bar, where there is little room, calls it.
_ON_THE_BAR = {
    "loss": "loss",
    "main_over_target": "main/target",
    "align_over_gap": "align/gap",
    "gate_norm": "gate",
}
# Called so whatever an example is.
_RATE = "images_per_second"


class RunLog:
    """The log of a run; flushed to disk when it is closed.

    Args:
      workdir: the run's directory.
      start: steps already done.
      config: fields num_steps, batch_size, log_every, trackers.
      schedule: step -> learning rate.
      step_key: the key that every step folds its number into.
      unit: what an example is called.
    """

    def __init__(
        self,
        workdir: str | Path,
        start: int,
        config: ConfigDict,
        schedule: optax.Schedule,
        step_key: jax.Array,
        unit: str,
    ):
        # What one process writes holds for all: metrics are the same everywhere.
        first = jax.process_index() == 0
        self._config, self._schedule, self._step_key = config, schedule, step_key
        self._record = Record(workdir, start, config, enabled=first)
        self._bar = tqdm(total=config.num_steps, initial=start, unit="step", disable=not first, dynamic_ncols=True)
        self._on_the_bar = _ON_THE_BAR | {_RATE: f"{unit}s/s"}
        self._window: dict[str, metrics.Mean] = {}
        self._steps, self._since = 0, time.perf_counter()
        self._previous: LossMetrics | None = None

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._record.close()

    def add(self, step: int, found: LossMetrics, diagnosed: Mapping[str, jax.Array], *, ends_window: bool) -> None:
        """Note a step; raises NonFiniteLossError for the step before, or for this one where it ends a window."""
        # One step late: asking for the numbers of this one would keep the device idle while the host prepares the next.
        if self._previous is not None:
            check_finite(self._previous, step - 1, self._step_key)
        self._previous = found
        self._window, self._steps, done = metrics.add(self._window, found.means), self._steps + 1, step + 1
        if diagnosed:
            values = jax.device_get(dict(diagnosed))
            self._record.scalars(done, {name: float(value) for name, value in values.items()})
        # A window ends wherever a resumed run may begin, so that it logs the same numbers.
        if done % self._config.log_every == 0 or ends_window:
            check_finite(found, step, self._step_key)
            self._end_window(step)
        self._bar.update()

    def _end_window(self, step: int) -> None:
        values = metrics.summarise(jax.device_get(self._window))
        seconds = time.perf_counter() - self._since
        values["learning_rate"] = float(self._schedule(step))
        values[_RATE] = self._steps * self._config.batch_size / seconds
        self._record.scalars(step + 1, values)
        shown = {short: f"{values[name]:.3g}" for name, short in self._on_the_bar.items() if name in values}
        self._bar.set_postfix(shown, refresh=False)
        self._window, self._steps = {}, 0

    def report(self, done: int, report: Report) -> None:
        """Write what an evaluation says after `done` steps."""
        if report.scalars:
            self._record.scalars(done, report.scalars)
        self._record.images(done, report.images)
        self._record.clips(done, report.clips)

    def resume_clock(self) -> None:
        """After evaluations and saving: a window that begins now counts training's own time alone."""
        if self._steps == 0:
            self._since = time.perf_counter()
