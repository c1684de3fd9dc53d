"""Deterministic DDIM sampling (arXiv 2010.02502, eq. 12 with eta = 0), step for step diffusers' `DDIMScheduler`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.processes import Diffusion

TIMESTEP_SPACINGS = ("leading", "trailing", "linspace")


def ddim_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `ddim_sample` from a diffusers `scheduler_config.json` given as a dict.

    Missing keys take the defaults of diffusers' `DDIMScheduler`, so a folder saved with another scheduler samples as
    after `DDIMScheduler.from_config`.

    Raises:
        ValueError: if the config asks for dynamic thresholding.
    """
    if config.get("thresholding", False):
        raise ValueError("scheduler config: thresholding=true is not supported; set it to false or use clip_sample.")
    return {
        "timestep_spacing": config.get("timestep_spacing", "leading"),
        "steps_offset": config.get("steps_offset", 0),
        "set_alpha_to_one": config.get("set_alpha_to_one", True),
        "clip_range": config.get("clip_sample_range", 1.0) if config.get("clip_sample", True) else None,
    }


def ddim_timesteps(
    num_train_timesteps: int, num_steps: int, timestep_spacing: str = "leading", steps_offset: int = 1
) -> np.ndarray:
    """The decreasing training steps that sampling visits, int32 (num_steps,).

    `steps_offset` applies to `leading` only, as in diffusers. See arXiv 2305.08891, table 2.

    Raises:
        ValueError: if `num_steps` is not in 1..num_train_timesteps, the spacing is unknown, or the offset pushes the
            first step past the last training step.
    """
    if not 1 <= num_steps <= num_train_timesteps:
        raise ValueError(
            f"num_steps is {num_steps}; give a number from 1 to num_train_timesteps={num_train_timesteps}."
        )
    if timestep_spacing == "leading":
        steps = np.arange(num_steps)[::-1] * (num_train_timesteps // num_steps) + steps_offset
    elif timestep_spacing == "trailing":
        steps = np.round(num_train_timesteps - np.arange(num_steps) * (num_train_timesteps / num_steps)) - 1
    elif timestep_spacing == "linspace":
        steps = np.linspace(0, num_train_timesteps - 1, num_steps).round()[::-1]
    else:
        raise ValueError(f"timestep_spacing {timestep_spacing!r} is not supported; use one of {TIMESTEP_SPACINGS}.")
    if steps[0] >= num_train_timesteps:
        raise ValueError(
            f"steps_offset={steps_offset} with num_steps={num_steps} starts at step {int(steps[0])}, past the last "
            f"training step {num_train_timesteps - 1}; lower either of them."
        )
    return steps.astype(np.int32)


def ddim_step(
    prediction: jax.Array,
    process: Diffusion,
    x_t: jax.Array,
    t: jax.Array,
    previous: tuple[jax.Array, jax.Array],
    clip_range: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """One step from `t` (n,) to the noise level `previous` = (alpha, sigma), scalars.

    Returns (x_previous, x0 estimate), each of x_t's shape. `clip_range` clips the x0 estimate; as in diffusers, the
    noise estimate stays that of the unclipped prediction.
    """
    x0 = process.denoised(prediction, x_t, t)
    if clip_range is not None:
        x0 = jnp.clip(x0, -clip_range, clip_range)
    alpha, sigma = previous
    return alpha * x0 + sigma * process.noise_estimate(prediction, x_t, t), x0


def ddim_sample(
    predict: Callable[[jax.Array, jax.Array], jax.Array],
    process: Diffusion,
    x_T: jax.Array,
    num_steps: int,
    *,
    timestep_spacing: str = "leading",
    steps_offset: int = 1,
    set_alpha_to_one: bool = False,
    clip_range: float | None = None,
) -> jax.Array:
    """Sample x0, float32 of x_T's shape (n, ...), from standard normal `x_T` with `num_steps` calls of `predict`.

    `predict(x_t, t)` gives the prediction of `process` at its integer steps `t`, int32 (n,). The loop is one
    `lax.scan`; call this inside `jax.jit` with parameters as arguments to compile once for many batches. The defaults
    are those of Stable Diffusion's scheduler files; `ddim_options` reads a given file.

    Raises:
        ValueError: as `ddim_timesteps`.
    """
    total = process.num_train_timesteps
    steps = ddim_timesteps(total, num_steps, timestep_spacing, steps_offset)
    alphas, sigmas = process.alpha_sigma_tables()
    # diffusers always steps back by total // num_steps, also where the visited steps are spaced otherwise.
    previous = steps - total // num_steps
    final_alpha, final_sigma = (1.0, 0.0) if set_alpha_to_one else (alphas[0], sigmas[0])
    previous_alpha = np.where(previous >= 0, alphas[previous], final_alpha).astype(np.float32)
    previous_sigma = np.where(previous >= 0, sigmas[previous], final_sigma).astype(np.float32)

    def body(x_t: jax.Array, level: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        step, alpha, sigma = level
        t = jnp.full((x_t.shape[0],), step, jnp.int32)
        prediction = predict(x_t, t).astype(jnp.float32)
        return ddim_step(prediction, process, x_t, t, (alpha, sigma), clip_range)[0], None

    levels = (jnp.asarray(steps), jnp.asarray(previous_alpha), jnp.asarray(previous_sigma))
    return jax.lax.scan(body, x_T.astype(jnp.float32), levels)[0]
