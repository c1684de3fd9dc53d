"""The recipe's optimizer: global clip over all that trains, AdamW with decay on everything, warm-up."""

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params


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


def make_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW as PyTorch defines it, after one clip of the global norm over the whole trainable tree.

    Args:
      config: fields b1, b2, eps, weight_decay, clip_norm, and decoder_rate: how many times the learning rate the
        alignment decoder has. As Adam's steps do not depend on how large gradients are, lam cannot make the decoder
        learn faster.
      schedule: step -> learning rate.

    Raises:
      ValueError: decoder_rate is not positive.
    """
    optimizer = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, b1=config.b1, b2=config.b2, eps=config.eps, weight_decay=config.weight_decay),
    )
    rate = config.decoder_rate
    if not rate > 0:
        raise ValueError(f"optimizer.decoder_rate is {rate}, but must be positive: 1 is the learning rate of the rest.")
    return optimizer if rate == 1 else _with_decoder_rate(optimizer, rate)


def _with_decoder_rate(optimizer: optax.GradientTransformation, rate: float) -> optax.GradientTransformation:
    """The same, its state too, with the updates of the subtree `decoder`, where there is one, times `rate`."""

    def update(gradients: Params, state: optax.OptState, params: Params | None = None) -> tuple[Params, optax.OptState]:
        updates, state = optimizer.update(gradients, state, params)
        if "decoder" in updates:
            updates = {**updates, "decoder": jax.tree.map(lambda leaf: rate * leaf, updates["decoder"])}
        return updates, state

    return optax.GradientTransformation(optimizer.init, update)
