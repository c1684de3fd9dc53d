"""The training loop, one for pretraining a base and for training side networks beside it."""

import logging
from pathlib import Path

import jax
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params
from lisa_jax.parallel.cluster import noticing_lost_processes
from lisa_jax.parallel.sharding import global_rows, make_mesh
from lisa_jax.training.best import score_of
from lisa_jax.training.checkpoint import Checkpoints
from lisa_jax.training.experiment import Experiment
from lisa_jax.training.finite import looking_at_the_batch
from lisa_jax.training.parameter_table import memory_line, parameter_table
from lisa_jax.training.program import make_program, run_keys
from lisa_jax.training.rate_change import rate_change
from lisa_jax.training.run_log import RunLog
from lisa_jax.training.state import TrainState, device_bytes
from lisa_jax.training.stop_request import StopRequest
from lisa_jax.training.tracking import write_config
from lisa_jax.training.waiting import watched

_LOG = logging.getLogger(__name__)


def fit(experiment: Experiment, config: ConfigDict, workdir: str | Path) -> TrainState:
    """Train until `config.num_steps`, from the newest checkpoint in `workdir` or from the start.

    The state after k steps is a function of config and data alone, however often the run was interrupted.

    Args:
      experiment: parameters, loss and data.
      config: fields seed, num_steps, batch_size, accumulate, ema_decay, optimizer, mesh, log_every, save_every,
        keep, trackers, and maybe keep_best.
      workdir: gets `config.json`, `checkpoints/`, `metrics.jsonl`, `previews/`, and what its trackers write.

    Returns:
      The state where training ended: at num_steps, or earlier after SIGTERM or Ctrl-C.
    Raises:
      NonFiniteLossError: with step, key and noise levels; nothing of that step is saved.
      ResumeError: the work directory belongs to another run.
      LostProcessError: another process of the run is gone.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)

    # ---- the program, and the state where training begins or goes on
    start_params = experiment.load_start()
    program = make_program(experiment, config, mesh, start_params)
    init_key, step_key = run_keys(config.seed)
    frozen = program.place_frozen(experiment.frozen)
    _LOG.info("mesh: %s over %s", dict(mesh.shape), jax.devices()[0].device_kind)
    _LOG.info("\n%s", parameter_table(frozen, program.state.params))
    _LOG.info(memory_line(device_bytes(program.state, program.frozen)))
    # Pretraining validates nothing, and has no such field.
    keep_best = config.get("keep_best")
    checkpoints = Checkpoints(workdir, config.keep, experiment.identity, experiment.upgrade, keep_best=keep_best)
    state = checkpoints.restore(program.state)
    if state is None:
        state = program.initialise(start_params, init_key)
    # The starting parameters take as much memory as those that are trained, and are not needed again.
    del start_params
    start = int(state.step)
    if start:
        _tell_of_resuming(workdir, config, start)
    # Not before: a run that is refused must not leave its config in another's directory.
    write_config(workdir, config)

    # ---- the steps
    batches = watched(experiment.batches.iterate(start), start, experiment.reading)
    log = RunLog(workdir, start, config, program.schedule, step_key, experiment.unit)
    # Closed from right to left, also after an error: signals are held back until everything is on disk.
    with StopRequest() as request, checkpoints, log:
        for step, batch in zip(range(start, config.num_steps), batches, strict=False):
            done = step + 1
            with noticing_lost_processes(step), looking_at_the_batch(experiment.batches):
                inputs = global_rows(batch["inputs"], mesh)
                # Before the step, which takes the state's buffers.
                diagnosed = program.diagnose(step, state, frozen, inputs, step_key)
                state, found = program.step_at(step)(state, frozen, inputs, step_key)
                stops = request.asks_to_stop(done)
                saves = done % config.save_every == 0 or done == config.num_steps or stops
                # Refuses a step that is not finite, so that nothing of it is saved below.
                log.add(step, found, diagnosed, ends_window=saves)
                scalars = _evaluate(experiment, state, frozen, log, done, is_last=done == config.num_steps)
                if saves:
                    checkpoints.save(state, done, score_of(scalars, keep_best))
                log.resume_clock()
            if stops:
                _LOG.warning("%s: saving after step %d; the same command goes on from there.", request.name, done)
                break
    return state


def _evaluate(
    experiment: Experiment, state: TrainState, frozen: Params, log: RunLog, done: int, *, is_last: bool
) -> dict[str, float]:
    """Run and log the evaluations that are due after `done` steps; their numbers by name."""
    scalars: dict[str, float] = {}
    for evaluation in experiment.evaluations:
        if done % evaluation.every == 0 or is_last:
            report = evaluation.run(state.eval_params, frozen)
            log.report(done, report)
            scalars.update(report.scalars)
    return scalars


def _tell_of_resuming(workdir: str | Path, config: ConfigDict, step: int) -> None:
    """Where a run goes on, and whether its learning rate jumps there; the work directory has its config of before."""
    if jax.process_index() == 0 and (told := rate_change(workdir, config, step)):
        _LOG.warning(told)
    _LOG.info("resumed after step %d of %d", step, config.num_steps)
