"""The recipe's optimizer: global clip over all that trains, AdamW with decay on everything, warm-up."""

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict


def learning_rate_schedule(config: ConfigDict, num_steps: int) -> optax.Schedule:
    """Linear warm-up to `learning_rate`, then constant, or a cosine to 0 at `num_steps`.

    The first step has learning_rate / warmup_steps, not 0.

    Args:
      config: fields learning_rate, warmup_steps, schedule ("constant" or "cosine").
      num_steps: length of the run.
    Raises:
      ValueError: an unknown schedule.
    """
    if config.schedule not in ("constant", "cosine"):
        raise ValueError(f"Unknown optimizer.schedule '{config.schedule}': use constant or cosine.")

    def schedule(step: jax.Array) -> jax.Array:
        rate = config.learning_rate * jnp.minimum(1.0, (step + 1) / max(1, config.warmup_steps))
        if config.schedule == "cosine":
            rate *= 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(1.0, step / num_steps)))
        return rate

    return schedule


def make_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """AdamW as PyTorch defines it, after one clip of the global norm over the whole trainable tree.

    Args:
      config: fields b1, b2, eps, weight_decay, clip_norm.
      schedule: step -> learning rate.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, b1=config.b1, b2=config.b2, eps=config.eps, weight_decay=config.weight_decay),
    )
