"""The noise process of a diffusers `scheduler_config.json`, and the fields of such a file one by one.

How a base was trained cannot be changed in its config: what is not supported is refused, never left out.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from lisa_jax.models.config_fields import shown
from lisa_jax.processes import EDM, Diffusion, Process, RectifiedFlow

SCHEDULER_CONFIG = "scheduler_config.json"
_LARGEST = 1e30


def process_of(scheduler: Mapping[str, Any]) -> Process:
    """The noise process that a base was trained with, as its diffusers `scheduler_config.json`, given as a dict, says.

    A config without a class is that of a `Diffusion`.

    Raises:
      ValueError: a class or an option that no process honours, or a field out of its range, by name.
    """
    class_name = str(scheduler.get("_class_name", "DDPMScheduler"))
    if class_name not in _PROCESSES:
        raise ValueError(
            f"_class_name {class_name[:80]!r} is not supported: there are {', '.join(sorted(_PROCESSES))}."
        )
    return _PROCESSES[class_name](scheduler)


def number(config: Mapping[str, Any], name: str, default: float, above: float = -math.inf) -> float:
    """A field that is a finite number above another; raises ValueError, by name, where it is none."""
    value = config.get(name, default)
    if type(value) not in (int, float) or not above < value < _LARGEST:
        wanted = "a number" if above == -math.inf else f"a number above {above}"
        raise ValueError(f"{name} is {shown(value)}, but must be {wanted}.")
    return value


def whole_number(config: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """A field that is a whole number from `low` to `high`; raises ValueError, by name, where it is none."""
    value = config.get(name, default)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} is {shown(value)}, but must be a whole number from {low} to {high}.")
    return value


def flag(config: Mapping[str, Any], name: str, default: bool) -> bool:
    """A field that is true or false, null being false; raises ValueError, by name, where it is neither."""
    value = config.get(name, default)
    if value is not None and type(value) is not bool:
        raise ValueError(f"{name} is {shown(value)}, but must be true or false.")
    return bool(value)


def choice(config: Mapping[str, Any], name: str, default: str, choices: Collection[str]) -> str:
    """A field that is one of some words; raises ValueError with them where it is another."""
    value = config.get(name, default)
    if value not in choices:
        raise ValueError(f"{name} {shown(value)} is not supported: there are {', '.join(choices)}.")
    return value


def _diffusion(config: Mapping[str, Any]) -> Diffusion:
    """Missing fields take the defaults of diffusers' schedulers; those that concern only sampling are left out."""
    if str(config.get("variance_type")).startswith("learned"):
        raise ValueError(
            f"variance_type {shown(config['variance_type'])} is not supported: take a base that predicts no variances."
        )
    fields = {name: config.get(name, default) for name, default in _DIFFUSERS_DEFAULTS.items()}
    betas = config.get("trained_betas")
    if betas is not None:
        fields |= {"trained_betas": tuple(betas) if isinstance(betas, list | tuple) else betas}
        fields |= dict.fromkeys(("beta_schedule", "beta_start", "beta_end"))
    elif fields["beta_schedule"] == "squaredcos_cap_v2":
        fields |= dict.fromkeys(("beta_start", "beta_end"))
    return Diffusion(**fields, rescale_betas_zero_snr=flag(config, "rescale_betas_zero_snr", False))


_DIFFUSERS_DEFAULTS = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "prediction_type": "epsilon",
}


def _euler(config: Mapping[str, Any]) -> Process:
    """With continuous time steps it is Stable Video Diffusion's; with discrete ones it samples a diffusion."""
    if choice(config, "timestep_type", "discrete", ("discrete", "continuous")) == "discrete":
        return _diffusion(config)
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type != "v_prediction":
        raise ValueError(
            f"prediction_type {shown(prediction_type)} is not supported with continuous time steps; only v_prediction "
            "is, as in Stable Video Diffusion."
        )
    return EDM()


def _rectified_flow(config: Mapping[str, Any]) -> RectifiedFlow:
    """The sigmas of the scheduler's own table, drawn logit-normal; what concerns only sampling is left out.

    Where a shift depends on the size of the picture (`use_dynamic_shifting`), that table is not shifted.
    """
    if flag(config, "invert_sigmas", False):
        raise ValueError(
            "invert_sigmas True is not supported: take a base whose time is 0 without noise, as Stable Diffusion 3's."
        )
    shift = number(config, "shift", 1.0, above=0)
    return RectifiedFlow(
        shift=1.0 if flag(config, "use_dynamic_shifting", False) else shift,
        num_train_timesteps=config.get("num_train_timesteps", 1000),
    )


# Classes of diffusers that sample a `Diffusion`, all with the same fields of its betas.
_OF_DIFFUSION = (
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
# Class of diffusers' scheduler -> how its config is read.
_PROCESSES: Mapping[str, Callable[[Mapping[str, Any]], Process]] = dict.fromkeys(_OF_DIFFUSION, _diffusion) | {
    "EulerDiscreteScheduler": _euler,
    "FlowMatchEulerDiscreteScheduler": _rectified_flow,
}
