"""Euler's method for rectified flow, as diffusers' `FlowMatchEulerDiscreteScheduler`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.scheduler import choice, flag, number, whole_number
from lisa_jax.processes import MOST_STEPS, shifted_time
from lisa_jax.sampling.samplers.levels import require
from lisa_jax.sampling.samplers.prediction import Predict

_MOST_TOKENS = 2**31


def token_count(shape: Sequence[int], patch_size: int) -> int:
    """How many tokens a transformer reads latents (n, *space, c) as, whose patches are squares of that side."""
    *frames, height, width = (1, 1, *shape[1:-1])
    return math.prod(frames) * (height // patch_size) * (width // patch_size)


def flow_euler_sigmas(config: Mapping[str, Any], num_steps: int, tokens: int) -> np.ndarray:
    """Sigmas visited, decreasing float32 (num_steps + 1,), the last one 0.

    Missing keys of the `scheduler_config.json` take the scheduler's defaults; `shift` is that of the config, which need
    not be the one that training drew its times with. As in diffusers, a static shift moves the smallest sigma twice.

    Args:
        config: of the scheduler.
        num_steps: steps of the sampler.
        tokens: of a sample, see `token_count`; read with `use_dynamic_shifting` alone.

    Raises:
        ValueError: an option that is not supported or out of its range, by name, or `num_steps` below 1.
    """
    require(
        config,
        {
            "use_karras_sigmas": (False, None),
            "use_exponential_sigmas": (False, None),
            "use_beta_sigmas": (False, None),
            "invert_sigmas": (False, None),
            "stochastic_sampling": (False, None),
        },
    )
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; give at least 1.")
    smallest = 1 / whole_number(config, "num_train_timesteps", 1000, 1, MOST_STEPS)
    if flag(config, "use_dynamic_shifting", False):
        shift = _shift_by_size(config, tokens)
    else:
        shift = number(config, "shift", 1.0, above=0)
        smallest = shifted_time(shift, smallest)
    sigmas = _ending_at_terminal(config, shifted_time(shift, np.linspace(1.0, smallest, num_steps)))
    return np.append(sigmas, 0.0).astype(np.float32)


def _shift_by_size(config: Mapping[str, Any], tokens: int) -> float:
    """The shift of samples of so many tokens: mu of the pipelines' `calculate_shift`, and the scheduler's of it."""
    low, high = number(config, "base_shift", 0.5), number(config, "max_shift", 1.15)
    fewest = whole_number(config, "base_image_seq_len", 256, 0, _MOST_TOKENS)
    most = whole_number(config, "max_image_seq_len", 4096, fewest + 1, _MOST_TOKENS)
    mu = low + (high - low) * (tokens - fewest) / (most - fewest)
    is_linear = choice(config, "time_shift_type", "exponential", ("exponential", "linear")) == "linear"
    # exp() of more than this is no number that a sigma could be shifted by.
    shift = mu if is_linear else math.exp(min(mu, 100.0))
    if not 0 < shift < 1e30:
        raise ValueError(
            f"base_shift {low} and max_shift {high} shift samples of {tokens} tokens by {shift:g}, but a shift must be "
            "a number above 0."
        )
    return shift


def _ending_at_terminal(config: Mapping[str, Any], sigmas: np.ndarray) -> np.ndarray:
    """Sigmas stretched so that the last one before 0 is `shift_terminal`, where there is one."""
    if config.get("shift_terminal") in (None, 0):
        return sigmas
    terminal = number(config, "shift_terminal", 0.0, above=0)
    if terminal >= 1 or len(sigmas) < 2:
        raise ValueError(f"shift_terminal is {terminal}, but must be below 1, and num_steps 2 or more.")
    return 1 - (1 - sigmas) * (1 - terminal) / (1 - sigmas[-1])


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
