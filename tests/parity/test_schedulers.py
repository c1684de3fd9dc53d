"""The process that a scheduler config describes is the one that diffusers' own scheduler noises data with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, PNDMScheduler

from lisa_jax.checkpoints.scheduler import process_of

SD_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
SAMPLE, NOISE = torch.randn(4, 3, generator=torch.manual_seed(0)), torch.randn(4, 3, generator=torch.manual_seed(1))


def ours(tensor):
    return jnp.asarray(tensor.numpy())


def process_of_scheduler(scheduler):
    """Of the config as diffusers writes it, with the defaults of the class."""
    return process_of(dict(scheduler.config) | {"_class_name": type(scheduler).__name__})


@pytest.mark.parametrize("kind", [PNDMScheduler, DDIMScheduler])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_stable_diffusion(kind, prediction_type):
    scheduler = kind(**SD_BETAS, prediction_type=prediction_type)
    process, t = process_of_scheduler(scheduler), torch.tensor([0, 1, 500, 999])
    alphas, _ = process.alpha_sigma_tables()
    np.testing.assert_allclose(alphas**2, scheduler.alphas_cumprod, atol=1e-6)
    x_t = process.perturb(ours(SAMPLE), ours(NOISE), ours(t))
    np.testing.assert_allclose(x_t, scheduler.add_noise(SAMPLE, NOISE, t), atol=1e-5)
    target = NOISE
    if prediction_type == "v_prediction":
        target = DDIMScheduler.from_config(scheduler.config).get_velocity(SAMPLE, NOISE, t)
    np.testing.assert_allclose(process.target(ours(SAMPLE), ours(NOISE), ours(t)), target, atol=1e-5)


def test_stable_diffusion_3():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    process, sigmas = process_of_scheduler(scheduler), ours(scheduler.sigmas)
    np.testing.assert_allclose(process.network_time(sigmas), scheduler.timesteps, rtol=1e-6)
    # Its table is an even grid, shifted.
    even = dataclasses.replace(process, time_distribution="uniform").quantile(sigmas)
    np.testing.assert_allclose(even, (np.arange(1000, 0, -1) - 0.5) / 1000, rtol=1e-4)
    chosen = [0, 10, 500, 999]
    x_t = process.perturb(ours(SAMPLE), ours(NOISE), sigmas[jnp.array(chosen)])
    np.testing.assert_allclose(x_t, scheduler.scale_noise(SAMPLE, scheduler.timesteps[chosen], NOISE), atol=1e-6)


@pytest.mark.parametrize(
    "config",
    [{"shift": 3.0}, {"shift": 1.7, "num_train_timesteps": 77}, {"shift": 3.0, "use_dynamic_shifting": True}],
    ids=["shift", "few", "by size"],
)
def test_a_flow_trains_the_scheduler_s_own_sigmas_drawn_as_diffusers_trainer_does(config):
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    process, key, count = process_of_scheduler(scheduler), jax.random.key(0), 5000
    np.testing.assert_allclose(process.sigma_table(), scheduler.sigmas, rtol=0, atol=1e-7)
    # Its index is into a descending table: u is noise's share in ours, data's in theirs.
    u = torch.from_numpy(np.array(jax.nn.sigmoid(-jax.random.normal(key, (count,), jnp.float32))))
    indices = (u * scheduler.config.num_train_timesteps).long()
    sigmas = process.sample_t(key, count)
    np.testing.assert_allclose(sigmas, scheduler.sigmas[indices], rtol=0, atol=1e-7)
    np.testing.assert_allclose(process.network_time(sigmas), scheduler.timesteps[indices], rtol=1e-6)


def test_stable_video_diffusion():
    scheduler = EulerDiscreteScheduler(
        **SD_BETAS,
        prediction_type="v_prediction",
        timestep_type="continuous",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
    )
    scheduler.set_timesteps(25)
    process, sigmas = process_of_scheduler(scheduler), ours(scheduler.sigmas[:-1])
    np.testing.assert_allclose(process.network_time(sigmas), scheduler.timesteps, rtol=1e-5)
    prediction = torch.randn(4, 3)
    for index, time in enumerate(scheduler.timesteps[:3]):
        sigma = jnp.broadcast_to(sigmas[index], (4,))
        x_t = SAMPLE + scheduler.sigmas[index] * NOISE
        np.testing.assert_allclose(process.perturb(ours(SAMPLE), ours(NOISE), sigma), x_t, rtol=1e-5)
        network_input = process.network_input(ours(x_t), sigma)
        np.testing.assert_allclose(network_input, scheduler.scale_model_input(x_t, time), rtol=1e-5)
        denoised = jax.jit(process.denoised)(ours(prediction), ours(x_t), sigma)
        expected = scheduler.step(prediction, time, x_t).pred_original_sample
        np.testing.assert_allclose(denoised, expected, rtol=1e-4, atol=1e-4)
