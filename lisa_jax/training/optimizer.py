"""The recipe's optimizer: global clip over all that trains, AdamW with decay on everything, warm-up."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params, Tree

# (trainable tree, step) -> tree like it of numbers, or one number for a whole subtree.
RateFactors = Callable[[Params, jax.Array], Tree]


def learning_rate_schedule(config: ConfigDict, num_steps: int) -> optax.Schedule:
    """Linear warm-up to `learning_rate`, then constant, or a cosine to 0, where it stays.

    The first step has learning_rate / warmup_steps, not 0.

    Args:
      config: fields learning_rate, warmup_steps, schedule ("constant" or "cosine"), schedule_steps (the cosine's).
      num_steps: length of the run, and of the cosine where it has none of its own.
    Raises:
      ValueError: an unknown schedule.
    """
    if config.schedule not in ("constant", "cosine"):
        raise ValueError(f"Unknown optimizer.schedule '{config.schedule}': use constant or cosine.")

    length = schedule_length(config, num_steps)

    def schedule(step: jax.Array) -> jax.Array:
        rate = config.learning_rate * jnp.minimum(1.0, (step + 1) / max(1, config.warmup_steps))
        if config.schedule == "cosine":
            rate *= 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(1.0, step / length)))
        return rate

    return schedule


def schedule_length(config: ConfigDict, num_steps: int) -> int:
    """Steps of the cosine; configs of earlier versions have no field for it."""
    return config.get("schedule_steps") or num_steps


def make_optimizer(
    config: ConfigDict, schedule: optax.Schedule, rate_factors: RateFactors = lambda params, step: 1.0
) -> optax.GradientTransformation:
    """AdamW as PyTorch defines it, after one clip of the global norm over the whole trainable tree.

    Args:
      config: fields b1, b2, eps, weight_decay, clip_norm.
      schedule: step -> learning rate.
      rate_factors: how many times that rate parameters have, as groups of parameters with a rate of their own have in
        PyTorch: Adam's step and the decay both grow with it. As Adam's steps do not depend on how large gradients are,
        no weight of a loss can make a part learn faster. The optimizer's state knows nothing of it.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.chain(
            optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps),
            optax.add_decayed_weights(config.weight_decay),
            _scale_by_rates(schedule, rate_factors),
        ),
    )


def _scale_by_rates(schedule: optax.Schedule, rate_factors: RateFactors) -> optax.GradientTransformation:
    """`optax.scale_by_learning_rate` of a schedule, with its state, but a rate for every parameter."""

    def init(params: Params) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros([], jnp.int32))

    def update(
        updates: Params, state: optax.ScaleByScheduleState, params: Params | None = None
    ) -> tuple[Params, optax.ScaleByScheduleState]:
        rate, factors = -schedule(state.count), rate_factors(params, state.count)
        factors = jax.tree.broadcast(factors, updates)
        updates = jax.tree.map(lambda leaf, factor: jnp.asarray(rate * factor, leaf.dtype) * leaf, updates, factors)
        return updates, optax.ScaleByScheduleState(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)
