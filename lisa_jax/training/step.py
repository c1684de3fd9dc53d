"""One training step: a pure function of state, frozen parameters, inputs and key."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from lisa_jax import metrics
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.metrics import LossMetrics
from lisa_jax.models.mesh import looped, platform
from lisa_jax.parallel.compiling import Announced
from lisa_jax.parallel.sharding import replicated, split_rows, traced_on
from lisa_jax.training.experiment import DiagnosticFn, LossFn
from lisa_jax.training.state import TrainState

# (state, frozen, inputs, the run's key) -> (state, metrics)
TrainStep = Callable[[TrainState, Params, Tree, jax.Array], tuple[TrainState, LossMetrics]]
# The same -> scalars by name; the state stays as it is.
StepDiagnostic = Callable[[TrainState, Params, Tree, jax.Array], dict[str, jax.Array]]


def make_train_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation, ema_decay: float | None = None, accumulate: int = 1
) -> TrainStep:
    """Make the step (state, frozen, batch, key) -> (state, metrics).

    Args:
      loss_fn: differentiated with respect to its first argument only, so the frozen tree gets no gradient.
      optimizer: gradient transformation over the trainable tree.
      ema_decay: decay of the moving average; None where the state has none.
      accumulate: microbatches of the batch, whose gradients are averaged; must divide the batch.

    Returns:
      A function of: state; frozen tree; inputs, a tree of arrays (n, ...); the run's key, folded with the step here.
      Metrics hold the means of the loss and the norms of gradients, updates and parameters.
    """

    def train_step(state: TrainState, frozen: Params, inputs: Tree, key: jax.Array) -> tuple[TrainState, LossMetrics]:
        gradients, loss_metrics = accumulated_gradients(
            loss_fn, state.params, frozen, inputs, jax.random.fold_in(key, state.step), state.step, accumulate
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if platform() == "gpu":
            # Their norms read what was written: XLA would compute both anew in the sums, and for that keep copies of
            # parameters and moments as they were.
            updates, params = jax.lax.optimization_barrier((updates, params))
        ema = state.ema
        if ema_decay is not None:
            # Early on the average follows more closely: decay (1 + step) / (10 + step), as is usual.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda average, leaf: decay * average + (1.0 - decay) * leaf, ema, params)
        norms = {"update_norm": optax.tree.norm(updates), "param_norm": optax.tree.norm(params)}
        norms |= {"grad_norm": optax.tree.norm(gradients)}
        norms |= {f"grad_norm/{name}": optax.tree.norm(tree) for name, tree in gradients.items()}
        means = loss_metrics.means | {name: metrics.scalar(value) for name, value in norms.items()}
        return TrainState(state.step + 1, params, opt_state, ema), loss_metrics._replace(means=means)

    return train_step


def jit_train_step(step: TrainStep, mesh: Mesh, state_sharding: TrainState, frozen_sharding: Params) -> Announced:
    """Compile a step for a mesh; the state that it is given is gone afterwards.

    Args:
      step: from `make_train_step`.
      mesh: its rows split the batch.
      state_sharding: sharding of every leaf of the state, before and after.
      frozen_sharding: sharding of every leaf of the frozen tree.
    """
    return Announced(
        traced_on(mesh, step),
        "the training step",
        position=2,
        in_shardings=(state_sharding, frozen_sharding, split_rows(mesh), replicated(mesh)),
        out_shardings=(state_sharding, replicated(mesh)),
        donate_argnums=0,
    )


def accumulated_gradients(
    loss_fn: LossFn,
    params: Params,
    frozen: Params,
    inputs: Tree,
    key: jax.Array,
    step: jax.Array,
    accumulate: int,
) -> tuple[Params, LossMetrics]:
    """Mean gradient over `accumulate` microbatches, each with a key of its own, and the metrics of all of them."""

    def gradients_of(microbatch: Tree, microbatch_key: jax.Array) -> tuple[Params, LossMetrics]:
        (loss, found), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            params, frozen, microbatch, key=microbatch_key, step=step
        )
        return gradients, found._replace(means=found.means | {"loss": metrics.scalar(loss)})

    if accumulate == 1:
        return gradients_of(inputs, key)

    def add_one(total: Params, microbatch_and_key: tuple) -> tuple[Params, LossMetrics]:
        with looped():
            gradients, found = gradients_of(*microbatch_and_key)
        return jax.tree.map(jnp.add, total, gradients), found

    microbatches = microbatches_of(inputs, accumulate)
    zeros = jax.tree.map(jnp.zeros_like, params)
    # XLA for CPUs computes the gradients of convolution weights many times slower inside a loop (20 to 130 times in
    # our measurements), so there the loop is written out; that saves no memory, of which CPUs have enough.
    written_out = platform() == "cpu"
    total, found = jax.lax.scan(
        add_one, zeros, (microbatches, jax.random.split(key, accumulate)), unroll=accumulate if written_out else 1
    )
    means = {name: jax.tree.map(jnp.sum, mean) for name, mean in found.means.items()}
    return (
        jax.tree.map(lambda leaf: leaf / accumulate, total),
        LossMetrics(means, found.t.reshape(-1), found.example_loss.reshape(-1)),
    )


def microbatches_of(inputs: Tree, accumulate: int) -> Tree:
    """Microbatches (accumulate, n / accumulate, ...) of a tree of arrays (n, ...).

    Rows are dealt out like cards, so that every microbatch has rows of every device and none has to move.
    """
    return jax.tree.map(lambda rows: rows.reshape(-1, accumulate, *rows.shape[1:]).swapaxes(0, 1), inputs)


def jit_diagnostic(diagnostic: DiagnosticFn, mesh: Mesh, accumulate: int) -> StepDiagnostic:
    """Compile a diagnostic for a mesh; it sees the step's first microbatch, under the key that the step uses for it."""

    def first_microbatch(
        params: Params, step: jax.Array, frozen: Params, inputs: Tree, key: jax.Array
    ) -> dict[str, jax.Array]:
        step_key = jax.random.fold_in(key, step)
        if accumulate > 1:
            inputs = jax.tree.map(lambda rows: rows[0], microbatches_of(inputs, accumulate))
            step_key = jax.random.split(step_key, accumulate)[0]
        return diagnostic(params, frozen, inputs, key=step_key, step=step)

    compiled = Announced(
        traced_on(mesh, first_microbatch), "the diagnostic", position=3, out_shardings=replicated(mesh)
    )
    return lambda state, frozen, inputs, key: compiled(state.params, state.step, frozen, inputs, key)
