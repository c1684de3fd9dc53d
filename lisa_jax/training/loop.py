"""The training loop, one for pretraining a base and for training a side network."""

import logging
import signal
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict
from tqdm import tqdm

from lisa_jax import metrics
from lisa_jax.metrics import LossMetrics
from lisa_jax.parallel.cluster import lost_process
from lisa_jax.parallel.sharding import global_rows, make_mesh
from lisa_jax.training.checkpoint import Checkpoints
from lisa_jax.training.experiment import DiagnosticFn, Experiment, Report
from lisa_jax.training.parameter_table import parameter_table
from lisa_jax.training.program import make_program, run_keys
from lisa_jax.training.state import TrainState
from lisa_jax.training.step import jit_diagnostic
from lisa_jax.training.tracking import Tracker, write_config
from lisa_jax.training.waiting import watched

_LOG = logging.getLogger(__name__)


class NonFiniteLossError(FloatingPointError):
    """The loss of a step, its gradient or the parameters after it are not finite."""


def fit(experiment: Experiment, config: ConfigDict, workdir: str | Path) -> TrainState:
    """Train until `config.num_steps`, from the newest checkpoint in `workdir` or from the start.

    The state after k steps is a function of config and data alone, however often the run was interrupted.

    Args:
      experiment: parameters, loss and data.
      config: fields seed, num_steps, batch_size, accumulate, ema_decay, optimizer, mesh, log_every, save_every,
        keep.
      workdir: gets `config.json`, `checkpoints/`, `metrics.jsonl`, `tensorboard/` and `previews/`.

    Returns:
      The state where training ended: at num_steps, or earlier after SIGTERM.
    Raises:
      NonFiniteLossError: with step, key and noise levels; nothing of that step is saved.
      ResumeError: the work directory belongs to another run.
      LostProcessError: another process of the run is gone.
    """
    for name in ("num_steps", "batch_size", "accumulate", "log_every", "save_every", "keep"):
        if config[name] < 1:
            raise ValueError(f"config.{name} is {config[name]}, but must be 1 or more.")
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)

    # ---- the program, and the state where training begins or goes on
    start_params = experiment.load_start()
    program = make_program(experiment, config, mesh, start_params)
    init_key, step_key = run_keys(config.seed)
    frozen = program.place_frozen(experiment.frozen)
    _LOG.info("mesh: %s over %s", dict(mesh.shape), jax.devices()[0].device_kind)
    _LOG.info("\n%s", parameter_table(frozen, program.state.params))
    checkpoints = Checkpoints(workdir, config.keep, experiment.identity, experiment.upgrade)
    state = checkpoints.restore(program.state)
    if state is None:
        state = program.initialise(start_params, init_key)
    # They are as large as the network itself.
    del start_params
    # Not before: a run that is refused must not leave its config in another's directory.
    write_config(workdir, config)
    start = int(state.step)
    if start:
        _LOG.info("resumed after step %d of %d", start, config.num_steps)

    # ---- the steps
    log = _Log(workdir, start, config, program.schedule, step_key)
    diagnose = _diagnoser(experiment, config, mesh)
    # SIGTERM is held back until everything is on disk.
    with _Sigterm() as sigterm:
        step, can_save = start, True
        try:
            batches = watched(experiment.batches.iterate(start), start)
            for step, batch in zip(range(start, config.num_steps), batches, strict=False):
                inputs = global_rows(batch["inputs"], mesh)
                # Before the step, which takes the state's buffers.
                diagnosed = diagnose(step, state, frozen, inputs, step_key)
                state, found = program.step_at(step)(state, frozen, inputs, step_key)
                done = step + 1
                stops = sigterm.asks_to_stop(done)
                saves = done % config.save_every == 0 or done == config.num_steps or stops
                log.add(step, found, diagnosed, ends_window=saves)
                for evaluation in experiment.evaluations:
                    if done % evaluation.every == 0 or done == config.num_steps:
                        log.report(done, evaluation.run(state.eval_params, frozen))
                if saves:
                    checkpoints.save(state, done)
                log.resume_clock()
                if stops:
                    _LOG.warning("SIGTERM: saving after step %d; the same command goes on from there.", done)
                    break
        except jax.errors.JaxRuntimeError as error:
            if (lost := lost_process(error, step)) is None:
                raise
            can_save = False
            raise lost from error
        finally:
            log.close()
            # A checkpoint is whole only when all processes have written theirs.
            if can_save:
                checkpoints.close()
    return state


def _diagnoser(experiment: Experiment, config: ConfigDict, mesh: Mesh) -> Callable[..., dict[str, jax.Array] | None]:
    """(step, then what the step takes) -> the experiment's diagnostic where one is due, else None."""

    @cache
    def compiled(diagnostic: DiagnosticFn) -> Callable[..., dict[str, jax.Array]]:
        return jit_diagnostic(diagnostic, mesh, config.accumulate)

    def diagnose(step: int, *arguments: Any) -> dict[str, jax.Array] | None:
        due = experiment.diagnostic is not None and (step + 1) % experiment.diagnostic.every == 0
        diagnostic = experiment.diagnostic.at(step) if due else None
        return None if diagnostic is None else compiled(diagnostic)(*arguments)

    return diagnose


class _Log:
    """What is told of a run while it trains: the mean of every window of steps, reports, and a bar."""

    def __init__(
        self, workdir: str | Path, start: int, config: ConfigDict, schedule: optax.Schedule, step_key: jax.Array
    ):
        first = jax.process_index() == 0
        self._config, self._schedule, self._step_key = config, schedule, step_key
        self._tracker = Tracker(workdir, start, enabled=first)
        self._bar = tqdm(total=config.num_steps, initial=start, unit="step", disable=not first, dynamic_ncols=True)
        self._window: dict[str, metrics.Mean] = {}
        self._steps, self._since = 0, time.perf_counter()
        self._previous: LossMetrics | None = None

    def add(
        self, step: int, found: LossMetrics, diagnosed: Mapping[str, jax.Array] | None, *, ends_window: bool
    ) -> None:
        """Note a step; raises NonFiniteLossError for the step before, or for this one where it ends a window."""
        # One step late, so that the device never waits for the host.
        if self._previous is not None:
            _check_finite(self._previous, step - 1, self._step_key)
        self._previous = found
        self._window, self._steps, done = metrics.add(self._window, found.means), self._steps + 1, step + 1
        if diagnosed is not None:
            values = jax.device_get(diagnosed)
            self._tracker.scalars(done, {name: float(value) for name, value in values.items()})
        # A window ends wherever a resumed run may begin, so that it logs the same numbers.
        if done % self._config.log_every == 0 or ends_window:
            _check_finite(found, step, self._step_key)
            self._end_window(step)
        self._bar.update()

    def _end_window(self, step: int) -> None:
        values = metrics.summarise(jax.device_get(self._window))
        seconds = time.perf_counter() - self._since
        values["learning_rate"] = float(self._schedule(step))
        values["images_per_second"] = self._steps * self._config.batch_size / seconds
        self._tracker.scalars(step + 1, values)
        self._bar.set_postfix(_shown(values), refresh=False)
        self._window, self._steps = {}, 0

    def report(self, done: int, report: Report) -> None:
        """Write what an evaluation says after `done` steps."""
        if report.scalars:
            self._tracker.scalars(done, report.scalars)
        self._tracker.images(done, report.images)

    def resume_clock(self) -> None:
        """After evaluations and saving: a window that begins now counts training's own time alone."""
        if self._steps == 0:
            self._since = time.perf_counter()

    def close(self) -> None:
        """Flush everything to disk."""
        self._bar.close()
        self._tracker.close()


def _shown(values: dict[str, float]) -> dict[str, str]:
    names = {
        "loss": "loss",
        "main_over_target": "main/target",
        "align_over_gap": "align/gap",
        "images_per_second": "img/s",
    }
    return {short: f"{values[name]:.3g}" for name, short in names.items() if name in values}


def _check_finite(found: LossMetrics, step: int, key: jax.Array) -> None:
    names = ("loss", "grad_norm", "update_norm", "param_norm")
    values = {name: float(np.asarray(found.means[name].total / found.means[name].count)) for name in names}
    if np.isfinite(list(values.values())).all():
        return
    t, example_loss = np.asarray(found.t), np.asarray(found.example_loss)
    broken = t[~np.isfinite(example_loss)]
    where = (
        f"in {broken.size} of {t.size} examples, at noise levels {broken}" if broken.size else f"at noise levels {t}"
    )
    raise NonFiniteLossError(
        f"Step {step} is not finite: {', '.join(f'{name} {value:g}' for name, value in values.items())}, {where}; "
        f"key {np.asarray(jax.random.key_data(jax.random.fold_in(key, step)))}. Nothing of this step was saved: "
        "lower the learning rate, or look at this step's batch."
    )


class _Sigterm:
    """Notes SIGTERM while it is open, so that the loop can finish its step and save."""

    def __enter__(self) -> "_Sigterm":
        self._noted = False
        # With several processes, JAX catches the signal and agrees on the step after which all of them stop.
        self._alone = jax.process_count() == 1
        if self._alone:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._alone:
            signal.signal(signal.SIGTERM, self._before)

    def asks_to_stop(self, step: int) -> bool:
        """Whether to stop after this step; to be called once a step."""
        return self._noted if self._alone else multihost_utils.reached_preemption_sync_point(step)

    def _note(self, *_: object) -> None:
        self._noted = True
