"""Samplers by name, all of one interface."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from lisa_jax.processes import EDM, Diffusion, Process, RectifiedFlow
from lisa_jax.sampling.samplers.ddim import ddim_levels, ddim_sample
from lisa_jax.sampling.samplers.dpm_solver import dpm_solver_levels, dpm_solver_sample
from lisa_jax.sampling.samplers.euler import euler_levels, euler_sample
from lisa_jax.sampling.samplers.flow_euler import flow_euler_sample, flow_euler_sigmas, token_count
from lisa_jax.sampling.samplers.prediction import Predict

Sample = Callable[[Predict, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A way from noise to data.

    Attributes:
        num_steps: how often it calls `predict`.
        sample: (predict, x_T) -> x0, float32 of x_T's shape (n, ...); x_T is standard normal for every noise process.
            The loop is one `lax.scan`; call it inside `jax.jit` with parameters as arguments, to compile once for many
            batches.
    """

    num_steps: int
    sample: Sample


def _ddim(process: Diffusion, config: Mapping[str, Any], num_steps: int, _patch_size: int) -> Sample:
    levels = ddim_levels(process, config, num_steps)
    return lambda predict, x_T: ddim_sample(predict, process, levels, x_T)


def _euler(process: Diffusion | EDM, config: Mapping[str, Any], num_steps: int, _patch_size: int) -> Sample:
    levels = euler_levels(process, config, num_steps)
    return lambda predict, x_T: euler_sample(predict, process, levels, x_T)


def _flow_euler(process: RectifiedFlow, config: Mapping[str, Any], num_steps: int, patch_size: int) -> Sample:
    # What cannot be is told now, of the size that `max_shift` is said for; the samples' own size comes with x_T.
    flow_euler_sigmas(config, num_steps, tokens=config.get("max_image_seq_len", 4096))

    def sample(predict: Predict, x_T: jax.Array) -> jax.Array:
        sigmas = flow_euler_sigmas(config, num_steps, token_count(x_T.shape, patch_size))
        return flow_euler_sample(predict, sigmas, x_T)

    return sample


def _dpmpp_2m(process: Diffusion, config: Mapping[str, Any], num_steps: int, _patch_size: int) -> Sample:
    levels = dpm_solver_levels(process, config, num_steps)
    return lambda predict, x_T: dpm_solver_sample(predict, process, levels, x_T)


SAMPLERS = {
    "ddim": {Diffusion: _ddim},
    "euler": {Diffusion: _euler, EDM: _euler, RectifiedFlow: _flow_euler},
    "dpmpp_2m": {Diffusion: _dpmpp_2m},
}


def fitting_samplers(process: Process) -> tuple[str, ...]:
    """Names of the samplers that fit a noise process."""
    return tuple(name for name, makers in SAMPLERS.items() if type(process) in makers)


def make_sampler(
    name: str, process: Process, scheduler_config: Mapping[str, Any], num_steps: int, patch_size: int = 1
) -> Sampler:
    """Make a sampler.

    Args:
        name: `ddim`, `euler` or `dpmpp_2m` (DPM-Solver++(2M)).
        process: the main network's noise process.
        scheduler_config: a diffusers `scheduler_config.json`, of whichever scheduler; it is read as that sampler's
            `Scheduler.from_config` would, missing keys taking its defaults.
        num_steps: number of network evaluations.
        patch_size: side of the square of latents that the network reads as one token; a config may let the shift of
            noise levels go by their number.

    Raises:
        ValueError: a sampler that does not exist or does not fit the noise process, with the names that do; an option
            of the config that would change the samples and is not supported; `num_steps` out of range.
    """
    fitting = fitting_samplers(process)
    if name not in fitting:
        kind = type(process).__name__
        raise ValueError(f"sampler '{name}' does not fit the noise process {kind}: use {' or '.join(fitting)}.")
    try:
        return Sampler(num_steps, SAMPLERS[name][type(process)](process, scheduler_config, num_steps, patch_size))
    except ValueError as error:
        raise ValueError(f"sampler '{name}' with the base's scheduler: {error}") from error
