"""Euler's method for rectified flow, as diffusers' `FlowMatchEulerDiscreteScheduler` with a static shift."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.scheduler import number, whole_number
from lisa_jax.processes import MOST_STEPS
from lisa_jax.sampling.samplers.levels import require
from lisa_jax.sampling.samplers.prediction import Predict


def flow_euler_sigmas(config: Mapping[str, Any], num_steps: int) -> np.ndarray:
    """Sigmas visited, decreasing float32 (num_steps + 1,), the last one 0.

    Missing keys of the `scheduler_config.json` take the scheduler's defaults; `shift` is that of the config, which need
    not be the one that training drew its times with. As in diffusers, the smallest sigma is shifted twice.

    Raises:
        ValueError: an option that is not supported, by name, or `num_steps` below 1.
    """
    require(
        config,
        {
            "use_dynamic_shifting": (False, None),
            "shift_terminal": (None,),
            "use_karras_sigmas": (False, None),
            "use_exponential_sigmas": (False, None),
            "use_beta_sigmas": (False, None),
            "invert_sigmas": (False, None),
            "stochastic_sampling": (False, None),
        },
    )
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; give at least 1.")
    shift = number(config, "shift", 1.0, above=0)
    total = whole_number(config, "num_train_timesteps", 1000, 1, MOST_STEPS)

    def shifted(sigma: np.ndarray | float) -> np.ndarray | float:
        return shift * sigma / (1 + (shift - 1) * sigma)

    sigmas = shifted(np.linspace(1.0, shifted(1 / total), num_steps))
    return np.append(sigmas, 0.0).astype(np.float32)


def flow_euler_step(velocity: jax.Array, x_t: jax.Array, sigma: jax.Array, next_sigma: jax.Array) -> jax.Array:
    """One step along the velocity (n, ...) from `sigma` to `next_sigma`, scalars."""
    return x_t + (next_sigma - sigma) * velocity


def flow_euler_sample(predict: Predict, sigmas: np.ndarray, x_T: jax.Array) -> jax.Array:
    """Sample x0, float32 of x_T's shape (n, ...), from standard normal `x_T`; the loop is one `lax.scan`."""

    def body(x_t: jax.Array, level: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        index, sigma, next_sigma = level
        velocity = predict(x_t, jnp.full((x_t.shape[0],), sigma), index).astype(jnp.float32)
        return flow_euler_step(velocity, x_t, sigma, next_sigma), None

    scanned = (jnp.arange(len(sigmas) - 1), jnp.asarray(sigmas[:-1]), jnp.asarray(sigmas[1:]))
    x0, _ = jax.lax.scan(body, x_T.astype(jnp.float32), scanned)
    return x0
