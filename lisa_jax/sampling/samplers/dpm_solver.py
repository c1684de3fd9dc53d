"""DPM-Solver++(2M), midpoint (arXiv 2211.01095, algorithm 2), as diffusers' `DPMSolverMultistepScheduler`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.scheduler import flag
from lisa_jax.processes import Diffusion
from lisa_jax.sampling.samplers.levels import (
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

# With fewer steps than this, `lower_order_final` makes the last one first order.
FEW_STEPS = 15


class DPMSolverLevels(NamedTuple):
    """One entry a step.

    Attributes:
        steps: int32, decreasing training steps for the network.
        alpha, sigma: float32, level of x_t.
        keep, move: float32, factors of x_t and of the extrapolated x0 estimate in the next x_t.
        extrapolate: float32, share of the change since the previous estimate; 0 in first-order steps.
    """

    steps: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    keep: np.ndarray
    move: np.ndarray
    extrapolate: np.ndarray


def dpm_solver_levels(process: Diffusion, config: Mapping[str, Any], num_steps: int) -> DPMSolverLevels:
    """Levels and coefficients that a diffusers `scheduler_config.json` asks for.

    Missing keys take `DPMSolverMultistepScheduler`'s defaults.

    Raises:
        ValueError: an option that is not supported, by name, or as `spaced_timesteps`.
    """
    require(
        config,
        {
            "solver_order": (2,),
            "algorithm_type": ("dpmsolver++", "deis"),
            # Other schedulers' types, which diffusers takes for midpoint.
            "solver_type": ("midpoint", "logrho", "bh1", "bh2"),
            "thresholding": (False, None),
            "use_exponential_sigmas": (False, None),
            "use_beta_sigmas": (False, None),
            "use_lu_lambdas": (False, None),
            "use_flow_sigmas": (False, None),
            "lambda_min_clipped": (-float("inf"),),
        },
    )
    ratios = noise_to_data_ratios(process)
    steps = _timesteps(process.num_train_timesteps, config, num_steps)
    sigmas = ratios[steps]
    if flag(config, "use_karras_sigmas", False):
        if process.beta_schedule == "squaredcos_cap_v2":
            # diffusers truncates these steps where it rounds all others, so that float errors decide.
            raise ValueError(
                "use_karras_sigmas=True of the scheduler config is not supported by this sampler with "
                "beta_schedule='squaredcos_cap_v2', and without it other samples would come out: use another sampler."
            )
        sigmas = karras_sigmas(*karras_range(config, float(ratios[-1]), float(ratios[0])), num_steps)
        steps = timesteps_of_sigmas(sigmas, ratios).round().astype(np.int32)
    last = final_sigma(config, ratios)

    # In h = ln(sigma / next sigma), sigma being noise over data, exp(-h) is their ratio; no logarithm of 0 is taken.
    following = np.append(sigmas[1:], last)
    alpha, next_alpha = 1 / np.sqrt(sigmas**2 + 1), 1 / np.sqrt(following**2 + 1)
    extrapolate = np.zeros(num_steps)
    second_order = slice(1, num_steps - 1 if _ends_first_order(config, num_steps) else num_steps)
    h, previous_h = np.log(sigmas[second_order] / following[second_order]), -np.diff(np.log(sigmas))
    extrapolate[second_order] = 0.5 * h / previous_h[: len(h)]
    coefficients = (
        alpha,
        sigmas * alpha,
        (following * next_alpha) / (sigmas * alpha),
        next_alpha * (1 - following / sigmas),
        extrapolate,
    )
    return DPMSolverLevels(steps, *(part.astype(np.float32) for part in coefficients))


def _timesteps(total: int, config: Mapping[str, Any], num_steps: int) -> np.ndarray:
    spacing, offset = spacing_of(config, "linspace", total)
    if spacing == "trailing":
        steps = spaced_timesteps(total, num_steps, spacing, offset)
    else:
        # diffusers spaces one step more and leaves the last one out.
        if not 1 <= num_steps < total:
            raise ValueError(f"num_steps is {num_steps}; give a number from 1 to {total - 1}.")
        steps = spaced_timesteps(total, num_steps + 1, spacing, offset)[:-1]
    return steps.round().astype(np.int32)


def _ends_first_order(config: Mapping[str, Any], num_steps: int) -> bool:
    return (
        flag(config, "euler_at_final", False)
        or (flag(config, "lower_order_final", True) and num_steps < FEW_STEPS)
        or config.get("final_sigmas_type", "zero") == "zero"
    )


def dpm_solver_step(
    prediction: jax.Array, x_t: jax.Array, previous_x0: jax.Array, level: DPMSolverLevels, prediction_type: str
) -> tuple[jax.Array, jax.Array]:
    """One step from `level`, whose entries are scalars.

    `previous_x0` is the x0 estimate of the step before (anything finite in the first). Returns (next x_t, x0
    estimate), each of x_t's shape.
    """
    if prediction_type == "epsilon":
        x0 = (x_t - level.sigma * prediction) / level.alpha
    else:
        x0 = level.alpha * x_t - level.sigma * prediction
    return level.keep * x_t + level.move * (x0 + level.extrapolate * (x0 - previous_x0)), x0


def dpm_solver_sample(predict: Predict, process: Diffusion, levels: DPMSolverLevels, x_T: jax.Array) -> jax.Array:
    """Sample x0, float32 of x_T's shape (n, ...), from standard normal `x_T`; the loop is one `lax.scan`."""

    def body(carry: tuple[jax.Array, jax.Array], scanned: tuple[jax.Array, DPMSolverLevels]) -> tuple[Any, None]:
        (x_t, previous_x0), (index, level) = carry, scanned
        t = jnp.full((x_t.shape[0],), level.steps, jnp.int32)
        prediction = predict(x_t, t, index).astype(jnp.float32)
        return dpm_solver_step(prediction, x_t, previous_x0, level, process.prediction_type), None

    x_T = x_T.astype(jnp.float32)
    scanned = (jnp.arange(len(levels.steps)), jax.tree.map(jnp.asarray, levels))
    (x0, _), _ = jax.lax.scan(body, (x_T, jnp.zeros_like(x_T)), scanned)
    return x0
