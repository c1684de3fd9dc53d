"""Diffusion tables and DDIM against diffusers, on the same random network outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.processes import Diffusion
from lisa_jax.sampling.samplers.ddim import ddim_levels, ddim_step, ddim_timesteps
from lisa_jax.sampling.samplers.sampler import make_sampler

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

SCHEDULES = ["scaled_linear", "linear", "squaredcos_cap_v2"]
PREDICTION_TYPES = ["epsilon", "v_prediction"]
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("beta_schedule", [*SCHEDULES, "trained"])
def test_add_noise_and_velocity(beta_schedule, zero_snr):
    config = SD | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": zero_snr}
    if beta_schedule == "trained":
        config["trained_betas"] = np.geomspace(1e-4, 2e-2, 1000).tolist()
    else:
        config["beta_schedule"] = beta_schedule
    scheduler = diffusers.DDPMScheduler(**config)
    process = process_of(scheduler.config)
    x0, noise = random(0, 1000, 3), random(1, 1000, 3)
    t = np.arange(1000)
    theirs = [
        method(torch.from_numpy(x0), torch.from_numpy(noise), torch.from_numpy(t)).numpy()
        for method in (scheduler.add_noise, scheduler.get_velocity)
    ]
    ours = process.perturb(x0, noise, jnp.asarray(t)), process.target(x0, noise, jnp.asarray(t))
    errors = [float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True)]
    print(f"{beta_schedule}: add_noise {errors[0]:.1e}, get_velocity {errors[1]:.1e}")
    assert max(errors) < 2e-5
    if zero_snr:
        np.testing.assert_array_equal(ours[0][-1], noise[-1])
        np.testing.assert_array_equal(ours[1][-1], -x0[-1])


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("num_steps", [1, 7, 20, 50, 999])
def test_timesteps(spacing, num_steps):
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(num_steps)
    np.testing.assert_array_equal(ddim_timesteps(1000, num_steps, spacing, 1), scheduler.timesteps.numpy()[:num_steps])


OPTIONS = {
    "sd": {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1},
    "diffusers_defaults": {},
    "trailing": {"timestep_spacing": "trailing", "clip_sample": False},
    "linspace_clip": {"timestep_spacing": "linspace", "clip_sample_range": 2.0, "set_alpha_to_one": False},
}


@pytest.mark.parametrize("num_steps", [1, 20])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_trajectory_and_every_step(prediction_type, options, num_steps):
    compare(diffusers.DDIMScheduler(**(SD | {"prediction_type": prediction_type} | options)), num_steps)


@pytest.mark.parametrize("options", [{"clip_sample": False}, {"timestep_spacing": "linspace"}])
def test_zero_terminal_snr(options):
    config = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    compare(diffusers.DDIMScheduler(**(SD | config | options)), 20)


def compare(scheduler, num_steps):
    shape = (2, 4, 4, 3)
    scheduler.set_timesteps(num_steps)
    process = process_of(scheduler.config)
    outputs, x_T = random(2, num_steps, *shape), random(3, *shape)

    levels = ddim_levels(process, dict(scheduler.config), num_steps)
    x, step_errors = torch.from_numpy(x_T), []
    for index, step in enumerate(scheduler.timesteps.tolist()):
        assert levels.steps[index] == step
        ours = ddim_step(
            jnp.asarray(outputs[index]),
            process,
            jnp.asarray(x.numpy()),
            jnp.full((2,), step),
            (levels.next_alpha[index], levels.next_sigma[index]),
            levels.clip_range,
        )
        theirs = scheduler.step(torch.from_numpy(outputs[index]), step, x)
        for a, b in zip(ours, (theirs.prev_sample, theirs.pred_original_sample), strict=True):
            step_errors.append(float(np.abs(a - b.numpy()).max() / max(1.0, np.abs(b.numpy()).max())))
        x = theirs.prev_sample

    sampler = make_sampler("ddim", process, dict(scheduler.config), num_steps)
    x0 = jax.jit(lambda noise: sampler.sample(lambda x_t, t, index: jnp.asarray(outputs)[index], noise))(x_T)
    # Random network outputs drive x far from unit scale, so errors are relative to the largest value.
    error = float(np.abs(x0 - x.numpy()).max() / max(1.0, x.abs().max().item()))
    largest = x.abs().max().item()
    print(f"step {max(step_errors):.1e}, trajectory {error:.1e}, largest {largest:.1f}")
    assert max(step_errors) < 2e-5 and error < 2e-5


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="thresholding=True"):
        ddim_levels(Diffusion(), {"thresholding": True}, 10)
