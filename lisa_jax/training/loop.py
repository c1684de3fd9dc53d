"""The training loop, one for pretraining a base and for training a side network."""

import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from tqdm import tqdm

from lisa_jax import metrics
from lisa_jax.dual_branch import Params
from lisa_jax.metrics import LossMetrics
from lisa_jax.parallel.cluster import lost_process
from lisa_jax.parallel.sharding import REPLICATED, check_batch_size, global_batch, make_mesh, place, shardings
from lisa_jax.training.checkpoint import Checkpoints
from lisa_jax.training.experiment import DiagnosticFn, Experiment, LossFn
from lisa_jax.training.optimizer import learning_rate_schedule, make_optimizer
from lisa_jax.training.parameter_table import parameter_table
from lisa_jax.training.state import TrainState, state_initialiser
from lisa_jax.training.step import TrainStep, jit_diagnostic, jit_train_step, make_train_step
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
    check_batch_size(config.batch_size, config.accumulate, mesh)
    schedule = learning_rate_schedule(config.optimizer, config.num_steps)
    optimizer = make_optimizer(config.optimizer, schedule)
    init_key, step_key = jax.random.split(jax.random.key(config.seed))

    def fresh_state(start: Params, key: jax.Array) -> TrainState:
        init = partial(experiment.init, start)
        return state_initialiser(init, optimizer, ema=config.ema_decay is not None)(key)

    start_params = experiment.load_start()
    shapes = jax.eval_shape(fresh_state, start_params, init_key)
    state_sharding = shardings(shapes, experiment.rules, mesh)
    like = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, state_sharding
    )
    frozen_rules = experiment.rules if config.mesh.split_frozen else REPLICATED
    frozen_sharding = shardings(experiment.frozen, frozen_rules, mesh)
    frozen = place(experiment.frozen, frozen_sharding)
    _LOG.info("mesh: %s over %s", dict(mesh.shape), jax.devices()[0].device_kind)
    _LOG.info("\n%s", parameter_table(frozen, shapes.params))

    checkpoints = Checkpoints(workdir, config.keep, experiment.identity)
    state = checkpoints.restore(like)
    if state is None:
        on_device = place(start_params, shardings(start_params, REPLICATED, mesh))
        # Born where they stay: no device ever holds all of a tree that is split.
        state = jax.jit(fresh_state, out_shardings=state_sharding)(on_device, init_key)
        del on_device
    del start_params
    # Not before: a run that is refused must not leave its config in another's directory.
    write_config(workdir, config)
    start = int(state.step)
    if start:
        _LOG.info("resumed after step %d of %d", start, config.num_steps)

    compiled: dict[LossFn, TrainStep] = {}

    def step_at(step: int) -> TrainStep:
        loss = experiment.loss_at(step)
        if loss not in compiled:
            train_step = make_train_step(loss, optimizer, config.ema_decay, config.accumulate)
            compiled[loss] = jit_train_step(train_step, mesh, state_sharding, frozen_sharding)
        return compiled[loss]

    diagnostics: dict[DiagnosticFn, Callable[..., dict[str, jax.Array]]] = {}

    def diagnostic_at(step: int) -> Callable[..., dict[str, jax.Array]] | None:
        wanted = experiment.diagnostic is not None and (step + 1) % experiment.diagnostic.every == 0
        diagnostic = experiment.diagnostic.at(step) if wanted else None
        if diagnostic is not None and diagnostic not in diagnostics:
            diagnostics[diagnostic] = jit_diagnostic(diagnostic, mesh, config.accumulate)
        return diagnostics.get(diagnostic)

    tracker = Tracker(workdir, start, enabled=jax.process_index() == 0)
    bar = tqdm(total=config.num_steps, initial=start, unit="step", disable=jax.process_index() != 0, dynamic_ncols=True)
    window: dict[str, metrics.Mean] = {}
    window_start, window_steps = time.perf_counter(), 0
    previous: LossMetrics | None = None
    # SIGTERM is held back until everything is on disk.
    with _Sigterm() as sigterm:
        step, can_save = start, True
        try:
            batches = watched(experiment.batches.iterate(start), start)
            for step, local in zip(range(start, config.num_steps), batches, strict=False):
                batch = global_batch(local, mesh)
                # Before the step, which takes the state's buffers.
                diagnose = diagnostic_at(step)
                diagnosed = None if diagnose is None else diagnose(state, frozen, batch, step_key)
                state, found = step_at(step)(state, frozen, batch, step_key)
                # One step late, so that the device never waits for the host.
                if previous is not None:
                    _check_finite(previous, step - 1, step_key)
                previous = found
                window, window_steps, done = metrics.add(window, found.means), window_steps + 1, step + 1
                if diagnosed is not None:
                    tracker.scalars(done, {name: float(value) for name, value in jax.device_get(diagnosed).items()})
                stops = sigterm.asks_to_stop(done)
                saves = done % config.save_every == 0 or done == config.num_steps or stops
                # A window ends wherever a resumed run may begin, so that it logs the same numbers.
                if done % config.log_every == 0 or saves:
                    _check_finite(found, step, step_key)
                    values = metrics.summarise(jax.device_get(window))
                    seconds = time.perf_counter() - window_start
                    values["learning_rate"] = float(schedule(step))
                    values["images_per_second"] = window_steps * config.batch_size / seconds
                    tracker.scalars(done, values)
                    bar.set_postfix(_shown(values), refresh=False)
                    window, window_steps = {}, 0
                bar.update()
                for evaluation in experiment.evaluations:
                    if done % evaluation.every == 0 or done == config.num_steps:
                        report = evaluation.run(state.eval_params, frozen)
                        if report.scalars:
                            tracker.scalars(done, report.scalars)
                        tracker.images(done, report.images)
                if saves:
                    checkpoints.save(state, done)
                if window_steps == 0:
                    # After evaluations and saving, so that images_per_second is training's own.
                    window_start = time.perf_counter()
                if stops:
                    _LOG.warning("SIGTERM: saving after step %d; the same command goes on from there.", done)
                    break
        except jax.errors.JaxRuntimeError as error:
            if (lost := lost_process(error, step)) is None:
                raise
            can_save = False
            raise lost from error
        finally:
            bar.close()
            tracker.close()
            # A checkpoint is whole only when all processes have written theirs.
            if can_save:
                checkpoints.close()
    return state


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
