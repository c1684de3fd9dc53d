"""Deterministic DDIM (arXiv 2010.02502, eq. 12 with eta = 0), step for step diffusers' `DDIMScheduler`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.scheduler import flag, number
from lisa_jax.processes import Diffusion
from lisa_jax.sampling.samplers.levels import require, spaced_timesteps, spacing_of
from lisa_jax.sampling.samplers.prediction import Predict


class DDIMLevels(NamedTuple):
    """Steps visited, and the level that each leads to.

    Attributes:
        steps: int32 (num_steps,), decreasing.
        next_alpha, next_sigma: float32 (num_steps,).
        clip_range: bound on the x0 estimate, or None.
    """

    steps: np.ndarray
    next_alpha: np.ndarray
    next_sigma: np.ndarray
    clip_range: float | None


def ddim_timesteps(total: int, num_steps: int, timestep_spacing: str = "leading", steps_offset: int = 1) -> np.ndarray:
    """The decreasing training steps that sampling visits, int32 (num_steps,); errors as `spaced_timesteps`."""
    return spaced_timesteps(total, num_steps, timestep_spacing, steps_offset).round().astype(np.int32)


def ddim_levels(process: Diffusion, config: Mapping[str, Any], num_steps: int) -> DDIMLevels:
    """The levels that a diffusers `scheduler_config.json` asks for; missing keys take `DDIMScheduler`'s defaults.

    Raises:
        ValueError: an option that is not supported, by name, or as `spaced_timesteps`.
    """
    require(config, {"thresholding": (False, None)})
    total = process.num_train_timesteps
    steps = ddim_timesteps(total, num_steps, *spacing_of(config, "leading", total))
    alphas, sigmas = process.alpha_sigma_tables()
    # diffusers always steps back by total // num_steps, also where the visited steps are spaced otherwise.
    following = steps - total // num_steps
    last_alpha, last_sigma = (1.0, 0.0) if flag(config, "set_alpha_to_one", True) else (alphas[0], sigmas[0])
    return DDIMLevels(
        steps,
        np.where(following >= 0, alphas[following], last_alpha).astype(np.float32),
        np.where(following >= 0, sigmas[following], last_sigma).astype(np.float32),
        number(config, "clip_sample_range", 1.0, above=0) if flag(config, "clip_sample", True) else None,
    )


def ddim_step(
    prediction: jax.Array,
    process: Diffusion,
    x_t: jax.Array,
    t: jax.Array,
    following: tuple[jax.Array, jax.Array],
    clip_range: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """One step from `t` (n,) to the noise level `following` = (alpha, sigma), scalars.

    Returns (x at that level, x0 estimate), each of x_t's shape. `clip_range` clips the x0 estimate; as in diffusers,
    the noise estimate stays that of the unclipped prediction.
    """
    x0 = process.denoised(prediction, x_t, t)
    if clip_range is not None:
        x0 = jnp.clip(x0, -clip_range, clip_range)
    alpha, sigma = following
    return alpha * x0 + sigma * process.noise_estimate(prediction, x_t, t), x0


def ddim_sample(predict: Predict, process: Diffusion, levels: DDIMLevels, x_T: jax.Array) -> jax.Array:
    """Sample x0, float32 of x_T's shape (n, ...), from standard normal `x_T`; the loop is one `lax.scan`."""

    def body(x_t: jax.Array, level: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        index, step, alpha, sigma = level
        t = jnp.full((x_t.shape[0],), step, jnp.int32)
        prediction = predict(x_t, t, index).astype(jnp.float32)
        x_t, _ = ddim_step(prediction, process, x_t, t, (alpha, sigma), levels.clip_range)
        return x_t, None

    indices = jnp.arange(len(levels.steps))
    scanned = (indices, *map(jnp.asarray, (levels.steps, levels.next_alpha, levels.next_sigma)))
    x0, _ = jax.lax.scan(body, x_T.astype(jnp.float32), scanned)
    return x0
