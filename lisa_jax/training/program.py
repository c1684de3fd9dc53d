"""A training program: shapes, shardings, initialisation and compiled steps of an experiment on a mesh.

One builder for all who need a part of it: `fit` runs it, `bench` times it, `compile` proves it for machines that are
not there, studies run many of them, and who reads a run back asks it what a checkpoint looks like.
"""

import dataclasses
from collections.abc import Callable
from functools import cache, partial

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params, Tree
from lisa_jax.parallel.compiling import Announced
from lisa_jax.parallel.sharding import (
    REPLICATED,
    check_batch_size,
    place,
    shardings,
    split_rows,
    traced_on,
    with_shardings,
)
from lisa_jax.training.experiment import DiagnosticFn, Experiment, LossFn
from lisa_jax.training.learning_rate import learning_rate_schedule
from lisa_jax.training.optimizer import make_optimizer
from lisa_jax.training.state import TrainState, state_initialiser, state_shardings
from lisa_jax.training.step import StepDiagnostic, jit_diagnostic, jit_train_step, make_train_step


@dataclasses.dataclass(frozen=True)
class Program:
    """What trains an experiment on a mesh.

    Attributes:
      mesh: of the devices, which may not exist.
      schedule: step -> learning rate.
      state: the TrainState as shapes with shardings.
      frozen: the frozen tree likewise.
      initialise: (start, key) -> the state at step 0, each leaf born where it stays.
      step_at: Python step -> the jitted step that runs at it, the same object for steps that share one.
      diagnostic_at: Python step -> the jitted diagnostic that is due at it, likewise, or None.
    """

    mesh: Mesh
    schedule: optax.Schedule
    state: TrainState
    frozen: Params
    initialise: Callable[[Params, jax.Array], TrainState]
    step_at: Callable[[int], Announced]
    diagnostic_at: Callable[[int], StepDiagnostic | None]

    def diagnose(
        self, step: int, state: TrainState, frozen: Params, inputs: Tree, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Scalars by name of the diagnostic that is due at a step, of what the step is about to be given; else {}."""
        diagnostic = self.diagnostic_at(step)
        return {} if diagnostic is None else diagnostic(state, frozen, inputs, key)

    def place_frozen(self, frozen: Params) -> Params:
        """Put the frozen tree where the program wants it."""
        return place(frozen, jax.tree.map(lambda leaf: leaf.sharding, self.frozen))

    def rows(self, shapes: Tree) -> Tree:
        """Shapes of a batch's inputs (n, ...) with the shardings that the step wants."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=split_rows(self.mesh)), shapes
        )


def make_program(experiment: Experiment, config: ConfigDict, mesh: Mesh, start: Params | None = None) -> Program:
    """Build the program of an experiment; nothing is read, computed or compiled yet. It does not depend on the seed.

    Args:
      experiment: its frozen tree may be shapes.
      config: fields num_steps, batch_size, accumulate, ema_decay, optimizer, mesh.split_frozen.
      mesh: where it is to run.
      start: what the trainable tree starts from, arrays or shapes; None where its shapes do not depend on it.

    Raises:
      ValueError: a batch that does not split over the mesh, settings of the optimizer that do not exist, or a parameter
        without a sharding rule.
    """
    check_batch_size(config.batch_size, config.accumulate, mesh)
    schedule = learning_rate_schedule(config.optimizer, config.num_steps)
    optimizer = make_optimizer(config.optimizer, schedule, experiment.rate_factors)

    def fresh_state(start: Params, key: jax.Array) -> TrainState:
        return state_initialiser(partial(experiment.init, start), optimizer, ema=config.ema_decay is not None)(key)

    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(traced_on(mesh, fresh_state), {} if start is None else start, key)
    state = with_shardings(shapes, state_shardings(shapes, experiment.rules, mesh))
    frozen_rules = experiment.rules if config.mesh.split_frozen else REPLICATED
    frozen = with_shardings(experiment.frozen, shardings(experiment.frozen, frozen_rules, mesh))
    state_sharding, frozen_sharding = jax.tree.map(lambda leaf: leaf.sharding, (state, frozen))

    # Jitted, so that each leaf is born where it stays: no device ever holds all of a tree that is split.
    born = Announced(fresh_state, "the first state", position=0, out_shardings=state_sharding)

    def initialise(start: Params, key: jax.Array) -> TrainState:
        return born(place(start, shardings(start, REPLICATED, mesh)), key)

    # Steps with the same loss share one compiled step.
    @cache
    def step_of(loss: LossFn) -> Announced:
        step = make_train_step(loss, optimizer, config.ema_decay, config.accumulate)
        return jit_train_step(step, mesh, state_sharding, frozen_sharding)

    @cache
    def diagnostic_of(diagnostic: DiagnosticFn | None) -> StepDiagnostic | None:
        return None if diagnostic is None else jit_diagnostic(diagnostic, mesh, config.accumulate)

    return Program(
        mesh,
        schedule,
        state,
        frozen,
        initialise,
        step_at=lambda step: step_of(experiment.loss_at(step)),
        diagnostic_at=lambda step: diagnostic_of(experiment.diagnostic_at(step)),
    )


def run_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The keys of a run: of its initialisation, and of its steps, each of which folds in its number."""
    init_key, step_key = jax.random.split(jax.random.key(seed))
    return init_key, step_key
