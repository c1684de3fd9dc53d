"""Running one cell: train, validate and sample on the way, and return the curve."""

import math
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lisa_jax import metrics
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.families.family import Family
from lisa_jax.sampling.generate import make_generator
from lisa_jax.studies.data import StudyData, StudySplit
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.programs import Examples, make_init, make_train_chunk, make_validation, plan_batches


class Laboratory:
    """All that the cells of a study share, each part made once: bases, rows on the device, compiled programs.

    Config fields used: `optimizer`; `validation.draws`, `validation.probe`; `sampling`, `num_samples`: how, and how
    many of the first test examples, are sampled; and what `run_cell` reads.

    Attributes:
      config: of the study.
      family: compute dtype -> family.
      start: compute dtype -> what side networks start from.
      rows: (split, task) -> Examples.
      programs: (hook or None, compute dtype) -> "init", "train" and "validate", see `lisa_jax.studies.programs`.
    """

    def __init__(self, config: ConfigDict, load_family: Callable[[str], Family], data: StudyData):
        """Set up; load_family: compute dtype -> family."""
        self.config = config
        self._data = data
        self.family = cache(load_family)
        self.start = cache(lambda dtype: self.family(dtype).read_side_start())
        self.rows = cache(self._rows)
        self.programs = cache(self._programs)
        self._generator = cache(
            lambda dtype: make_generator(self.family(dtype), **config.sampling, batch_size=config.num_samples)
        )

    def _rows(self, split: str, task: str) -> Examples:
        part: StudySplit = getattr(self._data, split)
        latents = self.family("float32").latents
        moments = jax.jit(latents.moments)(latents.params, part.image)
        return Examples(moments, jnp.asarray(part.context), jnp.asarray(part.conditions[task]))

    def _programs(self, hook: str | None, compute_dtype: str) -> dict[str, Callable[..., Any]]:
        family, config = self.family(compute_dtype), self.config
        return {
            "init": make_init(config, family, hook),
            "train": make_train_chunk(config, family, hook),
            "validate": make_validation(family, hook, config.validation.draws, config.validation.probe),
        }

    def sample(self, cell: Cell, side: Any) -> np.ndarray:
        """uint8 samples for the first test examples, always from the same noise; side None: without control."""
        count, test = self.config.num_samples, self._data.test
        inputs = (test.context[:count], test.conditions[cell.task][:count], np.arange(count))
        family = self.family(cell.compute_dtype)
        return self._generator(cell.compute_dtype)(family.frozen, family.latents.params, side, *inputs)

    def fidelity(self, task: str, samples: np.ndarray) -> dict[str, float]:
        test, count = self._data.test, len(samples)
        return fidelity(task, samples, test.image[:count], test.conditions[task][:count])

    def references(self, task: str, compute_dtype: str = "float32") -> dict[str, dict[str, float]]:
        """Fidelity of the real pictures (ceiling), of other drawings' pictures and of samples without control."""
        count = self.config.num_samples
        real = self._data.test.image[:count]
        cell = Cell(task, 0, 0.0, 0, 1, 1, None, compute_dtype=compute_dtype)
        pictures = {"real": real, "other": np.roll(real, 1, axis=0), "no control": self.sample(cell, None)}
        return {name: self.fidelity(task, images) for name, images in pictures.items()}


def run_cell(laboratory: Laboratory, cell: Cell, deadline: float = math.inf) -> dict[str, Any] | None:
    """Train a cell and return its `curve`, a list of points by step, and its `seconds_per_step` of training alone.

    A point has `step`, means of training since the point before, `validation/...`, with LISA also the gradients of
    `make_validation`, and where samples were drawn `fidelity/...`. None when `deadline` (time.monotonic) passed before
    the end: nothing of a cell that did not finish is kept.

    Config fields used: `chunk`, training steps a compiled call; `validate_every`; `sample_every` and further
    `sample_at`, of the steps that are validated.

    Raises:
      ValueError: a number of steps is no multiple of the chunk.
      FloatingPointError: a validation loss is not finite.
    """
    config, chunk = laboratory.config, laboratory.config.chunk
    lengths = {name: getattr(cell, name) for name in ("num_steps", "lam_decay_steps", "lam_stop_step")}
    for name, value in {**lengths, "validate_every": config.validate_every}.items():
        if value is not None and value % chunk:
            raise ValueError(f"{name} is {value}, but must be a multiple of chunk, {chunk}.")
    frozen = laboratory.family(cell.compute_dtype).frozen
    train, test = laboratory.rows("train", cell.task), laboratory.rows("test", cell.task)
    programs = laboratory.programs(cell.hook, cell.compute_dtype)
    plain = laboratory.programs(None, cell.compute_dtype)
    plan = plan_batches(cell.seed, len(train.moments), cell.num_steps, cell.batch_size)
    key = jax.random.key(cell.seed)
    state = programs["init"](laboratory.start(cell.compute_dtype), jax.random.fold_in(key, 1))
    decay = math.inf if cell.lam_decay_steps is None else float(cell.lam_decay_steps)
    stop = math.inf if cell.lam_stop_step is None else cell.lam_stop_step

    curve, rates, means, since = [], [], {}, (0, time.monotonic())
    for start in range(0, cell.num_steps, chunk):
        if time.monotonic() > deadline:
            return None
        rows = slice(start, start + chunk)
        aligns = start < stop and start < decay
        state, found = (programs if aligns else plain)["train"](
            state,
            frozen,
            train,
            plan["numbers"][rows],
            plan["flips"][rows],
            jax.random.fold_in(key, 2),
            cell.learning_rate,
            cell.lam,
            decay,
        )
        means = metrics.add(means, found)
        step = start + chunk
        if step % config.validate_every and step != cell.num_steps:
            continue
        jax.block_until_ready(state.params)
        rates.append((time.monotonic() - since[1]) / (step - since[0]))
        point = {"step": step}
        training, means = metrics.summarise(means), {}
        point |= {f"train/{name}": training[name] for name in ("main_loss", "align_over_gap") if name in training}
        validation = metrics.summarise(programs["validate"](state.params, frozen, test))
        if not math.isfinite(validation["main_loss"]):
            raise FloatingPointError(f"{cell.id}: the validation loss at step {step} is {validation['main_loss']}.")
        point |= {f"validation/{name}": value for name, value in validation.items()}
        if step in tuple(config.sample_at) or step % config.sample_every == 0 or step == cell.num_steps:
            samples = laboratory.sample(cell, state.params["side"])
            point |= {f"fidelity/{name}": value for name, value in laboratory.fidelity(cell.task, samples).items()}
        curve.append(point)
        since = (step, time.monotonic())
    return {"curve": curve, "seconds_per_step": float(np.median(rates))}
