"""What the loop trains: parameters, a loss and a stream of batches, whatever the family or the task."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from lisa_jax.dual_branch import Params, Tree
from lisa_jax.metrics import LossMetrics
from lisa_jax.parallel.sharding import REPLICATED, Rules
from lisa_jax.training.optimizer import RateFactors
from lisa_jax.training.upgrade import NO_UPGRADE, Upgrade


class LossFn(Protocol):
    """What a step differentiates, by its first argument alone."""

    def __call__(
        self, params: Params, frozen: Params, inputs: Tree, *, key: jax.Array, step: jax.Array | int
    ) -> tuple[jax.Array, LossMetrics]:
        """Scalar float32 loss and metrics of a batch's inputs, a tree of arrays (n, ...)."""


class DiagnosticFn(Protocol):
    """Something to look at within a step."""

    def __call__(
        self, params: Params, frozen: Params, inputs: Tree, *, key: jax.Array, step: jax.Array | int
    ) -> dict[str, jax.Array]:
        """Scalars by name, of what a loss takes."""


class Batches(Protocol):
    """A stream whose batch is a function of (seed, step) alone."""

    def iterate(self, start_step: int) -> Iterator[Mapping[str, Any]]:
        """Yield this JAX process's rows of the global batches from `start_step` on; the step reads their `inputs`."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What an evaluation says: numbers to log, uint8 (H, W, 3) pictures to show, and animated GIFs, encoded."""

    scalars: Mapping[str, float] = dataclasses.field(default_factory=dict)
    images: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    clips: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Something to look at every `every` steps and at the end; `run(params, frozen)` gets the EMA if there is one."""

    every: int
    run: Callable[[Params, Params], Report]

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"An evaluation is to run every {self.every} steps, but that must be 1 or more.")


@dataclasses.dataclass(frozen=True)
class Diagnostic:
    """Something to compute from what every `every`-th step is about to see: its parameters, batch and key.

    Attributes:
      every: steps between two.
      at: Python step -> a jittable function of what the step's loss takes, or None where there is nothing to compute;
        the same function object for steps that share a compiled program. With accumulation it gets the first
        microbatch, so that it needs no more memory than the step.
    """

    every: int
    at: Callable[[int], DiagnosticFn | None]

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"diagnostics_every is {self.every}, but must be 1 or more; None turns them off.")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that the loop needs to know.

    Attributes:
      frozen: tree of arrays, or of shapes, that the loss reads and nothing changes.
      init: (start, key) -> fresh trainable tree, jittable; the start is an argument, so that no compiled program holds
        its weights as constants.
      loss_at: Python step -> the loss that runs at it; the same function object for steps that share a compiled step.
      load_start: reads the tree that a fresh trainable tree starts from, as precise as the file has it; called once and
        let go. {} where nothing is read: shapes are the same.
      batches: the training stream; None for what is not trained here.
      unit: what an example is called where their rate is told.
      evaluations: previews and validation.
      identity: names and values that must not change on resume (base fingerprint, seed, batch size, ...).
      upgrade: how checkpoints of earlier versions are read.
      rules: where parameters, frozen and trainable, go on a mesh that splits them.
      rate_factors: how many times the learning rate parameters have, see `make_optimizer`.
      diagnostic: what to look at within steps; None: nothing.
      reading: what the stream reads just now, for a batch that keeps training waiting; None where that is not known.
    """

    frozen: Params
    init: Callable[[Params, jax.Array], Params]
    loss_at: Callable[[int], LossFn]
    load_start: Callable[[], Params] = dict
    batches: Batches | None = None
    unit: str = "image"
    evaluations: tuple[Evaluation, ...] = ()
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    upgrade: Upgrade = NO_UPGRADE
    rules: Rules = REPLICATED
    rate_factors: RateFactors = lambda params, step: 1.0
    diagnostic: Diagnostic | None = None
    reading: Callable[[], str | None] = lambda: None

    def diagnostic_at(self, step: int) -> DiagnosticFn | None:
        """The diagnostic that is due at a step, or None."""
        due = self.diagnostic is not None and (step + 1) % self.diagnostic.every == 0
        return self.diagnostic.at(step) if due else None
