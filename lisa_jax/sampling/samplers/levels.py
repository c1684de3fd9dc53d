"""What samplers share in choosing the noise levels that they visit; host-side numpy, before anything is compiled."""

from collections.abc import Mapping, Sequence
from reprlib import repr as shown
from typing import Any

import numpy as np

from lisa_jax.checkpoints.scheduler import choice, number, whole_number
from lisa_jax.processes import Diffusion

TIMESTEP_SPACINGS = ("leading", "trailing", "linspace")
# alpha of the last step of a schedule of zero terminal SNR where sigma / alpha is needed, in place of 0: diffusers'.
_LAST_ALPHA = 2.0**-12
# Exponent of Karras et al.'s schedule (arXiv 2206.00364, eq. 5), fixed in diffusers too.
RHO = 7.0


def require(config: Mapping[str, Any], supported: Mapping[str, Sequence[Any]]) -> None:
    """Refuse options of a scheduler config that would change the samples and are not implemented.

    Args:
        config: a diffusers `scheduler_config.json`.
        supported: name -> values that are; a missing key is fine.

    Raises:
        ValueError: another value, by name.
    """
    for name, values in supported.items():
        if name in config and config[name] not in values:
            raise ValueError(
                f"{name}={shown(config[name])} of the scheduler config is not supported by this sampler, and without "
                "it other samples would come out: use another sampler."
            )


def spacing_of(config: Mapping[str, Any], default: str, total: int) -> tuple[str, int]:
    """`timestep_spacing` of a scheduler config, and `steps_offset`, which only `leading` reads."""
    spacing = choice(config, "timestep_spacing", default, TIMESTEP_SPACINGS)
    return spacing, whole_number(config, "steps_offset", 0, 0, total) if spacing == "leading" else 0


def spaced_timesteps(total: int, num_steps: int, spacing: str, steps_offset: int) -> np.ndarray:
    """Decreasing training steps, float64 (num_steps,); those of `linspace` are fractional.

    `steps_offset` applies to `leading` only, as in diffusers. See arXiv 2305.08891, table 2.

    Raises:
        ValueError: `num_steps` is not in 1..total, the spacing is unknown, or the offset pushes the first step past
            the last training step.
    """
    if not 1 <= num_steps <= total:
        raise ValueError(f"num_steps is {num_steps}; give a number from 1 to num_train_timesteps={total}.")
    if spacing == "leading":
        steps = np.arange(num_steps)[::-1] * (total // num_steps) + float(steps_offset)
    elif spacing == "trailing":
        steps = np.round(total - np.arange(num_steps) * (total / num_steps)) - 1.0
    elif spacing == "linspace":
        steps = np.linspace(0, total - 1, num_steps)[::-1]
    else:
        raise ValueError(f"timestep_spacing {spacing!r} is not supported; use one of {TIMESTEP_SPACINGS}.")
    if steps[0] >= total:
        raise ValueError(
            f"steps_offset={steps_offset} with num_steps={num_steps} starts at step {int(steps[0])}, past the last "
            f"training step {total - 1}; use another num_steps."
        )
    return steps


def noise_to_data_ratios(process: Diffusion) -> np.ndarray:
    """sigma / alpha of every training step, increasing float64 (num_train_timesteps,): EDM's sigma of that level.

    Where the last step is noise alone, its ratio is 4096 in place of infinity, as in diffusers' solvers.
    """
    alphas, sigmas = (table.astype(np.float64) for table in process.alpha_sigma_tables())
    if process.rescale_betas_zero_snr:
        alphas[-1], sigmas[-1] = _LAST_ALPHA, np.sqrt(1 - _LAST_ALPHA**2)
    return sigmas / alphas


def karras_sigmas(largest: float, smallest: float, num_steps: int) -> np.ndarray:
    """Decreasing sigmas, float64 (num_steps,), evenly spaced in sigma^(1/7) (arXiv 2206.00364, eq. 5)."""
    ramp = np.linspace(0, 1, num_steps)
    return (largest ** (1 / RHO) + ramp * (smallest ** (1 / RHO) - largest ** (1 / RHO))) ** RHO


def karras_range(config: Mapping[str, Any], largest: float, smallest: float) -> tuple[float, float]:
    """`sigma_max` and `sigma_min` of a scheduler config, where they are there and not null."""
    given = {name: value for name, value in config.items() if value is not None}
    return number(given, "sigma_max", largest, above=0), number(given, "sigma_min", smallest, above=0)


def timesteps_of_sigmas(sigmas: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Fractional training steps with the given sigma / alpha, linear in its logarithm, as diffusers' `_sigma_to_t`."""
    return np.interp(np.log(sigmas), np.log(ratios), np.arange(len(ratios)))


def final_sigma(config: Mapping[str, Any], ratios: np.ndarray) -> float:
    """Where sampling ends, by the option `final_sigmas_type`: at 0, or at the first training step's level.

    Raises:
        ValueError: another type.
    """
    kind = choice(config, "final_sigmas_type", "zero", ("zero", "sigma_min"))
    return 0.0 if kind == "zero" else float(ratios[0])
