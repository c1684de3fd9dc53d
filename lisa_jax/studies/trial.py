"""Running one cell: train as `lisa_jax train` does, validate and sample on the way, and return the curve."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from lisa_jax import metrics
from lisa_jax.dual_branch import Params
from lisa_jax.experiments.splits import training_batches
from lisa_jax.metrics import Mean
from lisa_jax.parallel.sharding import global_rows
from lisa_jax.studies.costs import StepCosts, Stopwatch
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.training.program import run_keys


def _nothing(*_: Any) -> None:
    pass


def run_cell(
    laboratory: Laboratory,
    cell: Cell,
    deadline: float = math.inf,
    *,
    on_samples: Callable[[int, np.ndarray], None] = _nothing,
    on_trained: Callable[[Params], None] = _nothing,
) -> dict[str, Any] | None:
    """Train a cell and return its row, or None when `deadline` (time.monotonic) passed before the end.

    Nothing of a cell that did not finish is kept. A point of the curve comes every `training.eval_every` steps and at
    the end; at a point there are samples every `training.preview_every` steps, at the steps `sample_at`, and at the
    end.

    Args:
      laboratory: what cells share.
      cell: the run.
      deadline: when to give up.
      on_samples: gets the step and the samples, uint8 (n, H, W, 3), whenever some were drawn.
      on_trained: gets the trainable tree at the end.

    Returns:
      `curve`: a list of points by step. A point has `step`, means of training since the point before (`train/...`),
        what `Laboratory.validate` gives, and where samples were drawn `fidelity/...`.
      `seconds_per_step`, `flops_per_step`, `temporary_bytes`: of training alone, see `StepCosts.row`.
      `seconds_spent`: on "training", "validation" and "sampling", compiling included.
    Raises:
      FloatingPointError: a validation loss is not finite.
    """
    # ---- the program, the data and the keys of `train`
    config, program, split = laboratory.training(cell), laboratory.program(cell), laboratory.split(cell, "train")
    frozen, state = program.place_frozen(split.frozen()), laboratory.initial_state(cell)
    _, step_key = run_keys(cell.seed)
    batches = training_batches(config, split).iterate(0)

    # ---- the steps
    curve, means = [], {}
    costs, clock = StepCosts(), Stopwatch()
    steps = tqdm(range(cell.num_steps), cell.id, unit="step", dynamic_ncols=True, leave=False)
    for step, batch in zip(steps, batches, strict=False):
        if time.monotonic() > deadline:
            return None
        arguments = (state, frozen, global_rows(batch["inputs"], laboratory.mesh), step_key)
        costs.add(program.step_at(step), arguments)
        state, found = program.step_at(step)(*arguments)
        means, done = metrics.add(means, found.means), step + 1
        if done % config.eval_every and done != cell.num_steps:
            continue
        jax.block_until_ready(state.params)
        costs.end_stretch(clock.lap("training"))
        point = {"step": done, **_of_training(means), **_validated(laboratory, cell, done, state.eval_params, frozen)}
        clock.lap("validation")
        if done % config.preview_every == 0 or done in (*laboratory.config.sample_at, cell.num_steps):
            samples = laboratory.sample(cell, state.eval_params["side"])
            on_samples(done, samples)
            point |= {f"fidelity/{name}": value for name, value in laboratory.fidelity(cell.task, samples).items()}
            clock.lap("sampling")
        curve.append(point)
        means = {}
    on_trained(state.eval_params)
    return {"curve": curve, **costs.row(), "seconds_spent": clock.seconds}


def _of_training(means: Mapping[str, Mean]) -> dict[str, float]:
    values = metrics.summarise(means)
    return {f"train/{name}": values[name] for name in ("main_loss", "align_over_gap") if name in values}


def _validated(laboratory: Laboratory, cell: Cell, step: int, params: Params, frozen: Params) -> dict[str, float]:
    values = laboratory.validate(cell)(params, frozen)
    if not math.isfinite(loss := values["validation/main_loss"]):
        raise FloatingPointError(f"{cell.id}: the validation loss at step {step} is {loss}.")
    return values
