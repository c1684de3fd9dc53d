"""One training step: a pure function of state, frozen parameters, batch and key."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from lisa_jax import metrics
from lisa_jax.dual_branch import Params
from lisa_jax.metrics import LossMetrics
from lisa_jax.training.experiment import LossFn
from lisa_jax.training.sharding import replicated, split_rows
from lisa_jax.training.state import TrainState

TrainStep = Callable[[TrainState, Params, Mapping[str, jax.Array], jax.Array], tuple[TrainState, LossMetrics]]


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
      A function of: state; frozen tree; batch, a tree of arrays (n, ...); the run's key, folded with the step here.
      Metrics hold the means of the loss and the norms of gradients, updates and parameters.
    """

    def train_step(
        state: TrainState, frozen: Params, batch: Mapping[str, jax.Array], key: jax.Array
    ) -> tuple[TrainState, LossMetrics]:
        gradients, loss_metrics = accumulated_gradients(
            loss_fn, state.params, frozen, batch, jax.random.fold_in(key, state.step), state.step, accumulate
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
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


def jit_train_step(step: TrainStep, mesh: Mesh, state_sharding: TrainState, frozen_sharding: Params) -> TrainStep:
    """Compile a step for a mesh; the state that it is given is gone afterwards.

    Args:
      step: from `make_train_step`.
      mesh: its rows split the batch.
      state_sharding: sharding of every leaf of the state, before and after.
      frozen_sharding: sharding of every leaf of the frozen tree.
    """
    return jax.jit(
        step,
        in_shardings=(state_sharding, frozen_sharding, split_rows(mesh), replicated(mesh)),
        out_shardings=(state_sharding, replicated(mesh)),
        donate_argnums=0,
    )


def accumulated_gradients(
    loss_fn: LossFn,
    params: Params,
    frozen: Params,
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    step: jax.Array,
    accumulate: int,
) -> tuple[Params, LossMetrics]:
    """Mean gradient over `accumulate` microbatches, each with a key of its own, and the metrics of all of them."""

    def gradients_of(microbatch: Mapping[str, jax.Array], microbatch_key: jax.Array) -> tuple[Params, LossMetrics]:
        (loss, found), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            params, frozen, microbatch, microbatch_key, step
        )
        return gradients, found._replace(means=found.means | {"loss": metrics.scalar(loss)})

    if accumulate == 1:
        return gradients_of(batch, key)

    def add_one(total: Params, inputs: tuple) -> tuple[Params, LossMetrics]:
        gradients, found = gradients_of(*inputs)
        return jax.tree.map(jnp.add, total, gradients), found

    # Rows are dealt out like cards, so that every microbatch has rows of every device and none has to move.
    microbatches = jax.tree.map(lambda rows: rows.reshape(-1, accumulate, *rows.shape[1:]).swapaxes(0, 1), dict(batch))
    zeros = jax.tree.map(jnp.zeros_like, params)
    total, found = jax.lax.scan(add_one, zeros, (microbatches, jax.random.split(key, accumulate)))
    means = {name: jax.tree.map(jnp.sum, mean) for name, mean in found.means.items()}
    return (
        jax.tree.map(lambda leaf: leaf / accumulate, total),
        LossMetrics(means, found.t.reshape(-1), found.example_loss.reshape(-1)),
    )
