"""Euler samplers against diffusers, on the same random network outputs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.processes import EDM, Diffusion
from lisa_jax.sampling.samplers.euler import euler_levels, euler_step
from lisa_jax.sampling.samplers.sampler import make_sampler

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

SHAPE = (2, 4, 4, 3)
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SVD = {
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
OPTIONS = {
    "diffusers_defaults": {},
    "leading": {"timestep_spacing": "leading", "steps_offset": 1},
    "trailing": {"timestep_spacing": "trailing", "final_sigmas_type": "sigma_min"},
    "karras": {"use_karras_sigmas": True, "timestep_spacing": "leading"},
    "karras_range": {"use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0},
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
def test_diffusion(prediction_type, options):
    scheduler = diffusers.EulerDiscreteScheduler(**(SD | {"prediction_type": prediction_type} | options))
    process = process_of(scheduler.config)
    compare(process, scheduler, range(1, 21), prediction_type)


@pytest.mark.parametrize("options", [{}, {"use_karras_sigmas": True}, {"timestep_spacing": "leading"}])
def test_zero_terminal_snr(options):
    scheduler = diffusers.EulerDiscreteScheduler(**(SD | ZERO_SNR | options))
    compare(process_of(scheduler.config), scheduler, [1, 20], "v_prediction")


def test_edm_as_stable_video_diffusion_samples():
    scheduler = diffusers.EulerDiscreteScheduler(**(SD | SVD))
    compare(EDM(), scheduler, [1, 20], "v_prediction")
    ours = euler_levels(EDM(), {"timestep_spacing": "leading"}, 25)
    np.testing.assert_array_equal(ours.sigmas, euler_levels(EDM(), dict(scheduler.config), 25).sigmas)


def compare(process, scheduler, step_counts, prediction_type):
    """What the network is given, every step and trajectories of 1 and 20; asserts and prints the maxima."""
    input_errors, time_errors, step_errors, trajectory_errors = [], [], [], []
    config = dict(scheduler.config)
    for num_steps in step_counts:
        scheduler.set_timesteps(num_steps)
        levels = euler_levels(process, config, num_steps)
        outputs, x_T = random(0, num_steps, *SHAPE), random(1, *SHAPE)
        network_times = np.asarray(process.network_time(jnp.asarray(levels.times)))
        time_errors.append(float(np.abs(network_times - scheduler.timesteps.numpy()).max()))
        x, inputs = torch.from_numpy(x_T) * scheduler.init_noise_sigma, []
        for index, time in enumerate(scheduler.timesteps):
            inputs.append(scheduler.scale_model_input(x, time).numpy())
            theirs = scheduler.step(torch.from_numpy(outputs[index]), time, x)
            sigma, next_sigma = levels.sigmas[index], levels.sigmas[index + 1]
            ours = euler_step(outputs[index], x.numpy(), sigma, next_sigma, prediction_type)
            pairs = zip(ours, (theirs.prev_sample, theirs.pred_original_sample), strict=True)
            step_errors += [relative(a, b) for a, b in pairs]
            x = theirs.prev_sample
        if num_steps in (1, 20):
            seen = []

            def predict(x_t, t, index, outputs=outputs, seen=seen):
                jax.debug.callback(seen.append, process.network_input(x_t, t), ordered=True)
                return jnp.asarray(outputs)[index]

            sampler = make_sampler("euler", process, config, num_steps)
            trajectory_errors.append(relative(jax.jit(partial(sampler.sample, predict))(x_T), x))
            jax.effects_barrier()
            input_errors += [relative(a, b) for a, b in zip(seen, inputs, strict=True)]
    found = {"step": step_errors, "input": input_errors, "time": time_errors, "trajectory": trajectory_errors}
    print(", ".join(f"{name} {max(errors):.1e}" for name, errors in found.items()))
    # A time is off by parts of a training step: diffusers interpolates the logarithm of float32 tables.
    assert max(time_errors) < 5e-3
    # Steps start from x of the size of the largest sigma, and float32 keeps seven digits of that.
    assert max(step_errors + input_errors + trajectory_errors) < 1e-5 * max(1.0, levels.sigmas[0] / 50)


def test_reads_a_folder_saved_with_another_scheduler_as_from_config_does(tmp_path):
    diffusers.PNDMScheduler(**SD, steps_offset=1, skip_prk_steps=True).save_pretrained(tmp_path)
    scheduler = diffusers.EulerDiscreteScheduler.from_pretrained(tmp_path)
    scheduler.set_timesteps(10)
    config = diffusers.PNDMScheduler.load_config(tmp_path)
    levels = euler_levels(process_of(config), config, 10)
    np.testing.assert_allclose(levels.times, scheduler.timesteps, atol=1e-4)
    np.testing.assert_allclose(levels.sigmas, scheduler.sigmas, rtol=1e-4)


@pytest.mark.parametrize(
    ("process", "config", "message"),
    [
        (Diffusion(), {"interpolation_type": "log_linear"}, "interpolation_type='log_linear'"),
        (Diffusion(), {"use_exponential_sigmas": True}, "use_exponential_sigmas=True"),
        (Diffusion(), {"use_beta_sigmas": True}, "use_beta_sigmas=True"),
        (Diffusion(), {"final_sigmas_type": "one"}, "final_sigmas_type 'one'"),
        (Diffusion(), {"timestep_type": "continuous"}, "timestep_type='continuous'"),
        (EDM(), {"use_karras_sigmas": False}, "use_karras_sigmas=False"),
    ],
)
def test_options_that_would_change_samples_are_refused(process, config, message):
    with pytest.raises(ValueError, match=message):
        make_sampler("euler", process, config, 10)
