"""The learning rate by step: a warm-up, and what follows it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

# Share of its length that is done, in [0, 1] -> factor on the learning rate.
SCHEDULES: dict[str, Callable[[jax.Array], jax.Array | float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + jnp.cos(jnp.pi * done)),
}


def learning_rate_schedule(config: ConfigDict, num_steps: int) -> optax.Schedule:
    """Linear warm-up to `learning_rate`, times what the schedule makes of it: nothing, or a fall to 0, where it stays.

    The first step has learning_rate / warmup_steps, not 0. A fall begins with the first step, as the warm-up does.

    Args:
      config: fields learning_rate, warmup_steps, schedule (of SCHEDULES), schedule_steps (the length of a fall).
      num_steps: length of the run, and of a fall that has none of its own.
    Raises:
      ValueError: an unknown schedule.
    """
    if config.schedule not in SCHEDULES:
        raise ValueError(f"Unknown optimizer.schedule '{config.schedule}': use one of {', '.join(SCHEDULES)}.")

    factor, length = SCHEDULES[config.schedule], schedule_length(config, num_steps)

    def schedule(step: jax.Array) -> jax.Array:
        rate = config.learning_rate * jnp.minimum(1.0, (step + 1) / max(1, config.warmup_steps))
        return rate * factor(jnp.minimum(1.0, step / length))

    return schedule


def schedule_length(config: ConfigDict, num_steps: int) -> int:
    """Steps of a linear or cosine fall; configs of earlier versions have no field for it."""
    return config.get("schedule_steps") or num_steps
