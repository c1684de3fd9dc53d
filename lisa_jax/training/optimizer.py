"""Optimizers by name, all of optax: one clip of the global norm over all that trains, the optimizer's step, a rate."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params, Tree

# (trainable tree, step) -> tree like it of numbers, or one number for a whole subtree.
RateFactors = Callable[[Params, jax.Array], Tree]
Transformations = tuple[optax.GradientTransformation, ...]


def _adamw(config: ConfigDict) -> Transformations:
    """As PyTorch defines it (arXiv 1711.05101)."""
    return optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.eps), _decay(config)


def _adafactor(config: ConfigDict) -> Transformations:
    """Without momentum, steps in units of the learning rate (arXiv 1804.04235, `Adafactor` of transformers).

    Steps are not scaled by the size of parameters, as the paper's are: zero convolutions have none to begin with.
    """
    return optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), _decay(config)


def _lion(config: ConfigDict) -> Transformations:
    """The sign of a mean of gradients (arXiv 2302.06675)."""
    return optax.scale_by_lion(b1=config.b1, b2=config.b2), _decay(config)


def _sgd(config: ConfigDict) -> Transformations:
    """With momentum, as PyTorch defines it: the decay is part of the gradient."""
    return _decay(config), optax.trace(decay=config.b1)


def _decay(config: ConfigDict) -> optax.GradientTransformation:
    return optax.add_decayed_weights(config.weight_decay)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What is to be known of an optimizer.

    Attributes:
      steps: config -> transformations from the clipped gradient to a step that the learning rate scales.
      reads: which of OWN_FIELDS it reads.
    """

    steps: Callable[[ConfigDict], Transformations]
    reads: tuple[str, ...] = ()


OPTIMIZERS = {
    "adamw": Optimizer(_adamw, ("b1", "b2", "eps")),
    "adafactor": Optimizer(_adafactor),
    "lion": Optimizer(_lion, ("b1", "b2")),
    "sgd": Optimizer(_sgd, ("b1",)),
}
# Fields that not every optimizer reads, and what they have where it does not.
OWN_FIELDS = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}


def unread_field(config: Mapping[str, Any]) -> str | None:
    """The first of OWN_FIELDS that has a value of its own in a config whose optimizer does not read it, or None."""
    reads = OPTIMIZERS[config["name"]].reads
    return next((name for name, usual in OWN_FIELDS.items() if name not in reads and config[name] != usual), None)


def make_optimizer(
    config: ConfigDict, schedule: optax.Schedule, rate_factors: RateFactors = lambda params, step: 1.0
) -> optax.GradientTransformation:
    """The optimizer of a config, after one clip of the global norm over the whole trainable tree.

    Args:
      config: fields name (of OPTIMIZERS), weight_decay, clip_norm, and those of OWN_FIELDS that the optimizer reads.
      schedule: step -> learning rate.
      rate_factors: how many times that rate parameters have, as groups of parameters with a rate of their own have in
        PyTorch: the step and the decay both grow with it. As the steps of all but sgd do not depend on how large
        gradients are, no weight of a loss can make a part learn faster. The optimizer's state knows nothing of it.

    Raises:
      ValueError: an unknown name.
    """
    if config.name not in OPTIMIZERS:
        raise ValueError(f"Unknown optimizer.name '{config.name}': use one of {', '.join(OPTIMIZERS)}.")
    steps = OPTIMIZERS[config.name].steps(config)
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm), optax.chain(*steps, _scale_by_rates(schedule, rate_factors))
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
