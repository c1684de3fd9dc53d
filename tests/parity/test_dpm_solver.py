"""DPM-Solver++(2M) against diffusers, on the same random network outputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.processes import Diffusion
from lisa_jax.sampling.samplers.dpm_solver import DPMSolverLevels, dpm_solver_levels, dpm_solver_step
from lisa_jax.sampling.samplers.sampler import make_sampler

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

SHAPE = (2, 4, 4, 3)
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
OPTIONS = {
    "diffusers_defaults": {},
    "leading": {"timestep_spacing": "leading", "steps_offset": 1},
    "trailing": {"timestep_spacing": "trailing"},
    "karras": {"use_karras_sigmas": True},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "second_order_to_the_end": {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
    "euler_at_final": {"euler_at_final": True, "final_sigmas_type": "sigma_min"},
}

# Trailing steps begin at the last one, which is noise alone (arXiv 2305.08891).
ZERO_SNR = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def relative(ours, theirs):
    """Random network outputs drive x far from unit scale, so errors are relative to the largest value."""
    theirs = np.asarray(theirs)
    return float(np.abs(np.asarray(ours) - theirs).max() / max(1.0, np.abs(theirs).max()))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_every_step_and_trajectory(prediction_type, options):
    compare(SD | {"prediction_type": prediction_type} | options, range(1, 21))


@pytest.mark.parametrize("options", [{}, {"use_karras_sigmas": True}, {"timestep_spacing": "linspace"}])
def test_zero_terminal_snr(options):
    compare(SD | ZERO_SNR | options, [1, 20])


def test_trained_betas_and_the_range_of_karras_sigmas_in_a_folder_of_another_scheduler():
    betas = np.geomspace(1e-4, 2e-2, 1000).tolist()
    saved = diffusers.EulerDiscreteScheduler(trained_betas=betas, use_karras_sigmas=True, sigma_max=5.0, sigma_min=0.1)
    compare(dict(saved.config), [1, 20])


def compare(config, step_counts):
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(config)
    process, prediction_type = process_of(scheduler.config), scheduler.config.prediction_type
    step_errors, trajectory_errors = [], []
    for num_steps in step_counts:
        scheduler.set_timesteps(num_steps)
        levels = dpm_solver_levels(process, dict(scheduler.config), num_steps)
        # Karras steps are rounded: one in the middle between two may fall to the other side of diffusers' float32.
        differing = np.abs(levels.steps - scheduler.timesteps.numpy())
        assert differing.max() <= 1 and differing.sum() <= int(scheduler.config.use_karras_sigmas)
        outputs, x_T = random(0, num_steps, *SHAPE), random(1, *SHAPE)
        x, previous = torch.from_numpy(x_T), np.zeros(SHAPE, np.float32)
        for index, time in enumerate(scheduler.timesteps):
            theirs = scheduler.step(torch.from_numpy(outputs[index]), time, x).prev_sample
            level = DPMSolverLevels(*(part[index] for part in levels))
            ours, previous = dpm_solver_step(outputs[index], x.numpy(), previous, level, prediction_type)
            step_errors += [relative(ours, theirs), relative(previous, scheduler.model_outputs[-1])]
            x = theirs
        if num_steps in (1, 20):
            sampler = make_sampler("dpmpp_2m", process, dict(scheduler.config), num_steps)
            predict = lambda x_t, t, index, outputs=outputs: jnp.asarray(outputs)[index]  # noqa: E731
            trajectory_errors.append(relative(jax.jit(partial(sampler.sample, predict))(x_T), x))
    print(f"step {max(step_errors):.1e}, trajectory {max(trajectory_errors):.1e}")
    assert max(step_errors) < 1e-5 and max(trajectory_errors) < 1e-5


@pytest.mark.parametrize(
    "scheduler", ["PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler"]
)
def test_reads_a_folder_saved_with_another_scheduler_as_from_config_does(scheduler, tmp_path):
    saved = getattr(diffusers, scheduler)(**SD, steps_offset=1)
    saved.save_pretrained(tmp_path)
    theirs = diffusers.DPMSolverMultistepScheduler.from_pretrained(tmp_path)
    theirs.set_timesteps(10)
    config = saved.load_config(tmp_path)
    ours = dpm_solver_levels(process_of(config), config, 10)
    np.testing.assert_array_equal(ours.steps, theirs.timesteps.numpy())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"solver_order": 3}, "solver_order=3"),
        ({"algorithm_type": "sde-dpmsolver++"}, "algorithm_type='sde-dpmsolver"),
        ({"solver_type": "heun"}, "solver_type='heun'"),
        ({"thresholding": True}, "thresholding=True"),
        ({"use_lu_lambdas": True}, "use_lu_lambdas=True"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas=True"),
        ({"lambda_min_clipped": -5.1}, "lambda_min_clipped=-5.1"),
        ({"timestep_spacing": "karras"}, "timestep_spacing 'karras'"),
    ],
)
def test_options_that_would_change_samples_are_refused(config, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        make_sampler("dpmpp_2m", Diffusion(), config, 10)


def test_karras_steps_of_a_cosine_schedule_are_refused():
    with pytest.raises(ValueError, match="squaredcos_cap_v2"):
        make_sampler("dpmpp_2m", Diffusion(beta_schedule="squaredcos_cap_v2"), {"use_karras_sigmas": True}, 10)
