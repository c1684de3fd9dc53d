"""Running one cell: train, validate and sample on the way, and return the curve."""

import dataclasses
import math
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lisa_jax import metrics
from lisa_jax.dual_branch import Params
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.families.family import Family
from lisa_jax.sampling.generate import make_generator
from lisa_jax.studies.data import StudyData, StudySplit
from lisa_jax.studies.grid import Cell, written_hook
from lisa_jax.studies.programs import Alignment, Examples, make_init, make_train_chunk, make_validation, plan_batches
from lisa_jax.studies.tasks import conditions_of
from lisa_jax.training.state import TrainState


class LoadFamily(Protocol):
    """Reads the base of a study."""

    def __call__(self, compute_dtype: str, conditions: tuple[str, ...] | None, decoder_width: float) -> Family:
        """The family; conditions: those of a composed task, else None."""


class Laboratory:
    """All that the cells of a study share, each part made once: bases, rows on the device, compiled programs.

    Config fields used: `optimizer`; `validation.draws`, `validation.probe` and `validation.num_examples`, None for the
    whole test split; `sampling`, `num_samples`: how, and how many of the first test examples, are
    sampled; and what `run_cell` reads.

    Attributes:
      config: of the study.
    """

    def __init__(self, config: ConfigDict, load_family: LoadFamily, data: StudyData):
        """Set up; nothing is read or compiled before it is needed."""
        self.config = config
        self.data = data
        self._load_family = cache(load_family)
        self._start = cache(lambda *setting: self._load_family(*setting).read_side_start())
        self._rows = cache(self._make_rows)
        self._programs = cache(self._make_programs)
        self._generator = cache(
            lambda *setting: make_generator(
                self._load_family(*setting), **config.sampling, batch_size=config.num_samples
            )
        )

    def family(self, cell: Cell) -> Family:
        """The base of a cell, with the model that it trains."""
        return self._load_family(*_setting(cell))

    def start(self, cell: Cell) -> Params:
        """What the side networks of a cell start from."""
        return self._start(*_setting(cell.plain))

    def rows(self, split: str, task: str) -> Examples:
        """The examples of a split on the device; of the test split, those that are validated on."""
        return self._rows(split, task)

    def programs(self, cell: Cell) -> dict[str, Callable[..., Any]]:
        """Compiled programs of a cell: "init", "train" and "validate", see `lisa_jax.studies.programs`."""
        hook = written_hook(cell.hooks)
        alignment = None if hook is None else Alignment(hook, cell.align_every, cell.weighting, cell.decoder_rate)
        return self._programs(_setting(cell), alignment)

    def initial_state(self, cell: Cell) -> TrainState:
        """The state of a cell at step 0."""
        key = jax.random.fold_in(jax.random.key(cell.seed), 1)
        return self.programs(cell)["init"](self.start(cell), key)

    def _make_rows(self, split: str, task: str) -> Examples:
        part: StudySplit = getattr(self.data, split)
        latents = self._load_family("float32", None, 1.0).latents
        number = self.config.validation.num_examples if split == "test" else None
        image, context, condition = jax.tree.map(
            lambda leaf: jnp.asarray(leaf[:number]), (part.image, part.context, part.condition(task))
        )
        return Examples(jax.jit(latents.moments)(latents.params, image), context, condition)

    def _make_programs(self, setting: tuple, alignment: Alignment | None) -> dict[str, Callable[..., Any]]:
        family, config = self._load_family(*setting), self.config
        return {
            "init": make_init(config, family, None if alignment is None else alignment.hook),
            "train": make_train_chunk(config, family, alignment),
            "validate": make_validation(family, alignment, config.validation.draws, config.validation.probe),
        }

    def sample(self, cell: Cell, side: Any) -> np.ndarray:
        """uint8 samples for the first test examples, always from the same noise; side None: without control."""
        count, test = self.config.num_samples, self.data.test
        condition = jax.tree.map(lambda rows: rows[:count], test.condition(cell.task))
        family = self.family(cell.plain)
        return self._generator(*_setting(cell.plain))(
            family.frozen, family.latents.params, side, test.context[:count], condition, np.arange(count)
        )

    def sample_uncontrolled(self, task: str) -> np.ndarray:
        """Samples of the frozen network alone, of the same prompts from the same noise: uint8 (n, H, W, 3)."""
        return self.sample(Cell(task, 0.0, 0.0, 0, 1, 1), None)

    def fidelity(self, task: str, samples: np.ndarray) -> dict[str, float]:
        """How well samples of the first test examples follow their conditions."""
        test, count = self.data.test, len(samples)
        condition, truth = jax.tree.map(lambda rows: rows[:count], (test.condition(task), dict(test.truth)))
        return fidelity(task, samples, test.image[:count], condition, truth=truth)

    def references(self, task: str) -> dict[str, dict[str, float | None]]:
        """Fidelity of the real pictures (ceiling), of other examples' pictures and of samples without control.

        A measure that has no bound, as the PSNR of a picture against itself, is None.
        """
        real = self.data.test.image[: self.config.num_samples]
        pictures = {
            "real": real,
            "other": np.roll(real, 1, axis=0),
            "no control": self.sample_uncontrolled(task),
        }
        return {
            name: {
                measure: value if math.isfinite(value) else None
                for measure, value in self.fidelity(task, images).items()
            }
            for name, images in pictures.items()
        }


def _setting(cell: Cell) -> tuple[str, tuple[str, ...] | None, float]:
    """What a cell asks of `LoadFamily`."""
    conditions = conditions_of(cell.task)
    return cell.compute_dtype, conditions if len(conditions) > 1 else None, cell.decoder_width


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

    Nothing of a cell that did not finish is kept. Config fields used: `chunk`, training steps a compiled call;
    `validate_every`; `sample_every` and further `sample_at`, of the steps that are validated.

    Args:
      laboratory: what cells share.
      cell: the run.
      deadline: when to give up.
      on_samples: gets the step and the samples, uint8 (n, H, W, 3), whenever some were drawn.
      on_trained: gets the trainable tree at the end.

    Returns:
      `curve`: a list of points by step. A point has `step`, means of training since the point before,
        `validation/...`, with LISA also the gradients of `make_validation`, and where samples were drawn
        `fidelity/...`.
      `seconds_per_step`: of training alone: of each program the median of the stretches between points, the first left
        out where there are more, for it compiles; then the mean over all steps. None where a program has no stretch.
      `flops_per_step`: by XLA's count, the mean over all steps; None where the backend does not count.
      `temporary_bytes`: of the training program, by the compiler's plan; None likewise.
      `seconds_spent`: on "training", "validation" and "sampling", compiling included.
    Raises:
      ValueError: a number of steps is no multiple of the chunk.
      FloatingPointError: a validation loss is not finite.
    """
    config, chunk = laboratory.config, laboratory.config.chunk
    lengths = {name: getattr(cell, name) for name in ("num_steps", "lam_decay_steps", "lam_stop_step")}
    for name, value in {**lengths, "validate_every": config.validate_every}.items():
        if value is not None and value % chunk:
            raise ValueError(f"{name} is {value}, but must be a multiple of chunk, {chunk}.")
    frozen = jax.device_put(laboratory.family(cell).frozen)
    train, test = laboratory.rows("train", cell.task), laboratory.rows("test", cell.task)
    programs, plain = laboratory.programs(cell), laboratory.programs(cell.plain)
    plan = plan_batches(cell.seed, len(train.moments), cell.num_steps, cell.batch_size, flips=laboratory.data.flips)
    key = jax.random.key(cell.seed)
    state = laboratory.initial_state(cell)
    decay = math.inf if cell.lam_decay_steps is None else float(cell.lam_decay_steps)
    last = math.inf if cell.lam_stop_step is None else cell.lam_stop_step
    aligned_steps = 0 if cell.lam == 0 else int(min(cell.num_steps, decay, last))
    costs: dict[bool, Cost] = {}

    curve, rates, means, since = [], {}, {}, (0, time.monotonic())
    clock = Stopwatch()
    for start in range(0, cell.num_steps, chunk):
        if time.monotonic() > deadline:
            return None
        rows, aligns = slice(start, start + chunk), start < aligned_steps
        program = (programs if aligns else plain)["train"]
        arguments = (frozen, train, plan["numbers"][rows], plan["flips"][rows], jax.random.fold_in(key, 2))
        arguments = (state, *arguments, cell.learning_rate, cell.lam, decay)
        if aligns not in costs:
            costs[aligns] = program_cost(program, arguments)
        state, found = program(*arguments)
        means = metrics.add(means, found)
        step = start + chunk
        if step % config.validate_every and step != cell.num_steps:
            continue
        jax.block_until_ready(state.params)
        clock.lap("training")
        # A stretch in which the program changes says nothing of either.
        if aligns == (since[0] < aligned_steps):
            rates.setdefault(aligns, []).append((time.monotonic() - since[1]) / (step - since[0]))
        point = {"step": step}
        training, means = metrics.summarise(means), {}
        point |= {f"train/{name}": training[name] for name in ("main_loss", "align_over_gap") if name in training}
        validation = metrics.summarise(programs["validate"](state.params, frozen, test))
        clock.lap("validation")
        if not math.isfinite(validation["main_loss"]):
            raise FloatingPointError(f"{cell.id}: the validation loss at step {step} is {validation['main_loss']}.")
        point |= {f"validation/{name}": value for name, value in validation.items()}
        if step in tuple(config.sample_at) or step % config.sample_every == 0 or step == cell.num_steps:
            samples = laboratory.sample(cell, state.params["side"])
            on_samples(step, samples)
            point |= {f"fidelity/{name}": value for name, value in laboratory.fidelity(cell.task, samples).items()}
            clock.lap("sampling")
        curve.append(point)
        since = (step, time.monotonic())
    on_trained(state.params)
    shares = {True: aligned_steps, False: cell.num_steps - aligned_steps}
    return {
        "curve": curve,
        "seconds_per_step": _mean_over_steps(
            {aligns: float(np.median(found[1:] or found)) for aligns, found in rates.items()}, shares
        ),
        "flops_per_step": _mean_over_steps({aligns: cost.flops for aligns, cost in costs.items()}, shares),
        "temporary_bytes": max((cost.temporary_bytes or 0 for cost in costs.values()), default=0) or None,
        "seconds_spent": clock.seconds,
    }


def _mean_over_steps(of_program: dict[bool, float | None], steps: dict[bool, int]) -> float | None:
    """Mean over all steps of what a step of each program costs; None where one is not known."""
    if any(number and of_program.get(aligns) is None for aligns, number in steps.items()):
        return None
    return sum(number * of_program[aligns] for aligns, number in steps.items() if number) / sum(steps.values())


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a training program: operations a step and bytes of temporary buffers, None where they are not known."""

    flops: float | None
    temporary_bytes: int | None


def program_cost(program: Callable[..., Any], arguments: tuple) -> Cost:
    """What XLA says of the program that these arguments run.

    XLA counts the body of a loop once, so its operations are those of one step, whatever the chunk.
    """
    compiled = program.lower(*arguments).compile()
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    return Cost(cost.get("flops"), None if memory is None else memory.temp_size_in_bytes)


class Stopwatch:
    """Seconds by what they were spent on, from one lap to the next."""

    def __init__(self) -> None:
        """Start."""
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now
