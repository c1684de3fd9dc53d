"""Euler's method on the probability-flow ODE (arXiv 2206.00364, algorithm 1), as diffusers' `EulerDiscreteScheduler`.

The state x is that of a variance-exploding process, x = x0 + sigma noise; a diffusion's x_t is x / sqrt(sigma^2 + 1).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.scheduler import choice, flag
from lisa_jax.processes import EDM, Diffusion
from lisa_jax.sampling.samplers.levels import (
    TIMESTEP_SPACINGS,
    final_sigma,
    karras_range,
    karras_sigmas,
    noise_to_data_ratios,
    require,
    spaced_timesteps,
    spacing_of,
    timesteps_of_sigmas,
)
from lisa_jax.sampling.samplers.prediction import Predict

# Stable Video Diffusion's range.
EDM_SIGMA_MIN, EDM_SIGMA_MAX = 0.002, 700.0


class EulerLevels(NamedTuple):
    """Levels visited.

    Attributes:
        times: process times, float32 (num_steps,): fractional training steps of a diffusion, sigmas of EDM.
        sigmas: float32 (num_steps + 1,), decreasing, the last one where sampling ends.
        initial_scale: factor on standard normal noise (diffusers' `init_noise_sigma`).
    """

    times: np.ndarray
    sigmas: np.ndarray
    initial_scale: float


def euler_levels(process: Diffusion | EDM, config: Mapping[str, Any], num_steps: int) -> EulerLevels:
    """The levels that a diffusers `scheduler_config.json` asks for.

    Missing keys take `EulerDiscreteScheduler`'s defaults; for EDM, Stable Video Diffusion's: Karras sigmas from 700 to
    0.002.

    Raises:
        ValueError: an option that is not supported, by name, or as `spaced_timesteps`.
    """
    require(
        config,
        {
            "interpolation_type": ("linear",),
            "use_exponential_sigmas": (False, None),
            "use_beta_sigmas": (False, None),
        },
    )
    if isinstance(process, EDM):
        times = sigmas = _edm_sigmas(config, num_steps)
        last = 0.0
    else:
        times, sigmas = _diffusion_sigmas(process, config, num_steps)
        last = final_sigma(config, noise_to_data_ratios(process))
    largest = max(sigmas[0], last)
    spacing = choice(config, "timestep_spacing", "linspace", TIMESTEP_SPACINGS)
    return EulerLevels(
        times.astype(np.float32),
        np.append(sigmas, last).astype(np.float32),
        float(largest if spacing in ("linspace", "trailing") else np.sqrt(largest**2 + 1)),
    )


def _diffusion_sigmas(process: Diffusion, config: Mapping[str, Any], num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    require(config, {"timestep_type": ("discrete",)})
    ratios, total = noise_to_data_ratios(process), process.num_train_timesteps
    times = spaced_timesteps(total, num_steps, *spacing_of(config, "linspace", total))
    sigmas = np.interp(times, np.arange(len(ratios)), ratios)
    if flag(config, "use_karras_sigmas", False):
        sigmas = karras_sigmas(*karras_range(config, float(sigmas[0]), float(sigmas[-1])), num_steps)
        times = timesteps_of_sigmas(sigmas, ratios)
    return times, sigmas


def _edm_sigmas(config: Mapping[str, Any], num_steps: int) -> np.ndarray:
    require(
        config,
        {
            "timestep_type": ("continuous",),
            "prediction_type": ("v_prediction",),
            "use_karras_sigmas": (True,),
            "final_sigmas_type": ("zero",),
        },
    )
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; give at least 1.")
    return karras_sigmas(*karras_range(config, EDM_SIGMA_MAX, EDM_SIGMA_MIN), num_steps)


def euler_step(
    prediction: jax.Array, x: jax.Array, sigma: jax.Array, next_sigma: jax.Array, prediction_type: str
) -> tuple[jax.Array, jax.Array]:
    """One step from `sigma` to `next_sigma`, scalars.

    `prediction_type` is `epsilon` or `v_prediction`; EDM's raw output counts as the latter. Returns (x at
    `next_sigma`, x0 estimate), each of x's shape.
    """
    if prediction_type == "epsilon":
        x0 = x - sigma * prediction
    else:
        x0 = prediction * (-sigma / jnp.sqrt(sigma**2 + 1)) + x / (sigma**2 + 1)
    return x + (x - x0) / sigma * (next_sigma - sigma), x0


def euler_sample(predict: Predict, process: Diffusion | EDM, levels: EulerLevels, x_T: jax.Array) -> jax.Array:
    """Sample x0, float32 of x_T's shape (n, ...), from standard normal `x_T`; the loop is one `lax.scan`."""
    scales_input = isinstance(process, Diffusion)
    prediction_type = process.prediction_type if scales_input else "v_prediction"

    def body(x: jax.Array, level: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        index, time, sigma, next_sigma = level
        x_t = x / jnp.sqrt(sigma**2 + 1) if scales_input else x
        prediction = predict(x_t, jnp.full((x.shape[0],), time), index).astype(jnp.float32)
        x, _ = euler_step(prediction, x, sigma, next_sigma, prediction_type)
        return x, None

    indices = jnp.arange(len(levels.times))
    scanned = (indices, *map(jnp.asarray, (levels.times, levels.sigmas[:-1], levels.sigmas[1:])))
    x0, _ = jax.lax.scan(body, levels.initial_scale * x_T.astype(jnp.float32), scanned)
    return x0
