"""The sampler of rectified flows against diffusers' `FlowMatchEulerDiscreteScheduler`: its shifts and trajectories.

Where the shift goes by the size of the picture, mu is what Stable Diffusion 3's pipeline computes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift

from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.processes import RectifiedFlow
from lisa_jax.sampling.samplers.flow_euler import flow_euler_sigmas, token_count
from lisa_jax.sampling.samplers.sampler import make_sampler

PATCH, SHAPE = 2, (2, 12, 8, 3)  # latents of 6 x 4 tokens
BY_SIZE = {"use_dynamic_shifting": True, "base_image_seq_len": 16, "max_image_seq_len": 64}
CONFIGS = {
    "sd3": {"shift": 3.0},
    "no shift": {},
    "few levels": {"shift": 1.7, "num_train_timesteps": 77},
    "by size": {"use_dynamic_shifting": True},
    "by size, other range": BY_SIZE | {"base_shift": 0.2, "max_shift": 2.5},
    "by size, linear": BY_SIZE | {"time_shift_type": "linear", "max_shift": 4.0},
    "terminal": {"shift": 3.0, "shift_terminal": 0.1},
    "by size, terminal": BY_SIZE | {"shift_terminal": 0.02},
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def steps_of(config, num_steps, tokens):
    """diffusers' scheduler, its timesteps set as the pipeline does."""
    scheduler, how = FlowMatchEulerDiscreteScheduler(**config), {}
    if scheduler.config.use_dynamic_shifting:
        c = scheduler.config
        how = {"mu": calculate_shift(tokens, c.base_image_seq_len, c.max_image_seq_len, c.base_shift, c.max_shift)}
    scheduler.set_timesteps(num_steps, **how)
    return scheduler


@every_config
def test_sigmas(config):
    for tokens in (12, 24, 100) if "base_image_seq_len" in config else (24, 1024, 4096, 16384):
        for num_steps in (2, 7, 28, 50):
            scheduler = steps_of(config, num_steps, tokens)
            sigmas = flow_euler_sigmas(dict(scheduler.config), num_steps, tokens)
            np.testing.assert_allclose(sigmas, scheduler.sigmas, rtol=0, atol=1e-7)
            # What a file does not say is the default of the class.
            np.testing.assert_array_equal(flow_euler_sigmas(config, num_steps, tokens), sigmas)


def test_sigmas_of_stable_diffusion_3():
    sigmas = flow_euler_sigmas({"shift": 3.0}, 28, 4096)
    assert sigmas.shape == (29,) and sigmas.dtype == np.float32
    np.testing.assert_allclose(sigmas[[0, 1]], [1, 0.9874], atol=5e-5)
    np.testing.assert_allclose(sigmas[-4:], [0.1998, 0.1109, 0.0089286, 0], atol=5e-5)
    np.testing.assert_allclose(flow_euler_sigmas({"shift": 3.0}, 1, 4096), [1, 0])


@pytest.mark.parametrize(
    ("shape", "patch", "tokens"),
    [((1, 128, 128, 16), 2, 4096), ((4, 64, 96, 16), 2, 1536), ((1, 5, 7, 3), 2, 6), ((1, 14, 8, 8, 4), 1, 896)],
)
def test_tokens_of_latents(shape, patch, tokens):
    assert token_count(shape, patch) == tokens


def velocity(library, x, time, weights):
    """A fixed function of x_t and the network's time, in PyTorch or in JAX."""
    return library.tanh(x @ weights) * (1 + library.cos(time / 300))[:, None, None, None]


def test_a_size_that_would_be_shifted_by_no_positive_number_is_told():
    with pytest.raises(ValueError, match=r"base_shift 0\.5 and max_shift 4\.0 shift samples of 1 tokens by -0\.59375"):
        flow_euler_sigmas(CONFIGS["by size, linear"], 10, tokens=1)


@every_config
def test_whole_trajectories_of_a_toy_velocity(config):
    generator = np.random.default_rng(0)
    x_T, weights = (generator.normal(size=shape).astype(np.float32) for shape in (SHAPE, (3, 3)))
    scheduler = steps_of(config, 20, 24)
    x = torch.from_numpy(x_T)
    for time in scheduler.timesteps:
        x = scheduler.step(velocity(torch, x, time.repeat(len(x)), torch.from_numpy(weights)), time, x).prev_sample
    named = dict(scheduler.config) | {"_class_name": type(scheduler).__name__}
    process = process_of(named)

    def predict(x_t, t, index):
        return velocity(jnp, x_t, process.network_time(t), weights)

    sampler = make_sampler("euler", process, named, 20, PATCH)
    x0 = np.asarray(jax.jit(lambda noise: sampler.sample(predict, noise))(x_T))
    print(f"largest difference {np.abs(x0 - x.numpy()).max():.1e}")
    np.testing.assert_allclose(x0, x, atol=1e-5)
    assert np.abs(x0 - x_T).max() > 0.1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"stochastic_sampling": True}, "stochastic_sampling=True"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas=True"),
        ({"use_exponential_sigmas": True}, "use_exponential_sigmas=True"),
        ({"invert_sigmas": True}, "invert_sigmas=True"),
        ({"use_dynamic_shifting": "yes"}, "use_dynamic_shifting is 'yes'"),
        (BY_SIZE | {"base_shift": None}, "base_shift is None"),
        (BY_SIZE | {"max_shift": 1e9}, "shift samples of 64 tokens by 2.68812e\\+43, but"),
        (BY_SIZE | {"max_shift": -1.0, "time_shift_type": "linear"}, "shift samples of 64 tokens by -1, but"),
        (BY_SIZE | {"max_image_seq_len": 16}, "max_image_seq_len is 16, but must be a whole number from 17"),
        (BY_SIZE | {"max_image_seq_len": "64"}, "max_image_seq_len is '64'"),
        (BY_SIZE | {"time_shift_type": "quadratic"}, "time_shift_type 'quadratic'"),
        ({"shift_terminal": 1.0}, "shift_terminal is 1.0"),
        ({"shift_terminal": "x"}, "shift_terminal is 'x'"),
    ],
)
def test_what_is_not_supported_or_out_of_range_is_told_when_the_sampler_is_made(config, message):
    with pytest.raises(ValueError, match=f"sampler 'euler' with the base's scheduler: .*{message}"):
        make_sampler("euler", RectifiedFlow(), config, 10, PATCH)
