"""Samplers on data with a known exact denoiser."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.processes import EDM, Diffusion, RectifiedFlow
from lisa_jax.sampling.samplers.ddim import ddim_timesteps
from lisa_jax.sampling.samplers.sampler import make_sampler

MEAN, STD = 1.5, 0.4
SD = {"set_alpha_to_one": True, "clip_sample": False}


def exact(process, x_t, t, index):
    """What a perfect network predicts for normal data."""
    del index
    if isinstance(process, Diffusion):
        t = t.astype(jnp.int32)
    level = process.coefficients(t).like(x_t)
    gain = level.alpha * STD**2 / (level.alpha**2 * STD**2 + level.sigma**2)
    return process.prediction(MEAN + gain * (x_t - level.alpha * MEAN), x_t, t)


CASES = {
    "ddim": ("ddim", Diffusion(), SD, 200),
    "ddim_v_trailing": ("ddim", Diffusion(prediction_type="v_prediction"), SD | {"timestep_spacing": "trailing"}, 200),
    "euler": ("euler", Diffusion(), {"timestep_spacing": "trailing"}, 200),
    "euler_v": ("euler", Diffusion(prediction_type="v_prediction"), {"timestep_spacing": "leading"}, 200),
    "euler_edm": ("euler", EDM(), {}, 100),
    "euler_flow": ("euler", RectifiedFlow(), {"shift": 3.0}, 100),
    "dpmpp_2m": ("dpmpp_2m", Diffusion(), {}, 50),
    "dpmpp_2m_v_karras": ("dpmpp_2m", Diffusion(prediction_type="v_prediction"), {"use_karras_sigmas": True}, 20),
}


@pytest.mark.parametrize(("name", "process", "config", "num_steps"), CASES.values(), ids=CASES.keys())
def test_samples_of_gaussian_data_have_its_mean_and_spread(name, process, config, num_steps):
    sampler = make_sampler(name, process, config, num_steps)
    x0 = jax.jit(partial(sampler.sample, partial(exact, process)))(jax.random.normal(jax.random.key(0), (4000, 2)))
    assert x0.dtype == jnp.float32
    # SD's last alpha is 0.068, not 0, so starting from standard normal noise biases the mean a little.
    assert abs(float(x0.mean()) - MEAN) < 0.05
    assert abs(float(x0.std()) / STD - 1) < 0.1


@pytest.mark.parametrize(
    ("name", "process"),
    [("ddim", Diffusion()), ("euler", EDM()), ("euler", RectifiedFlow()), ("dpmpp_2m", Diffusion())],
)
def test_predict_receives_times_and_places_and_may_give_any_dtype(name, process):
    seen = []

    def predict(x_t, t, index):
        seen.append((x_t.dtype, t.shape, index.dtype))
        return x_t.astype(jnp.bfloat16)

    x0 = make_sampler(name, process, {}, 4).sample(predict, jnp.ones((3, 2), jnp.bfloat16))
    assert seen[0] == (jnp.float32, (3,), jnp.int32)
    assert x0.dtype == jnp.float32 and bool(jnp.isfinite(x0).all())


def test_clipping_bounds_the_result_of_ddim():
    sampler = make_sampler("ddim", Diffusion(), {"clip_sample": True, "clip_sample_range": 1.0}, 5)
    np.testing.assert_allclose(sampler.sample(lambda x, t, index: jnp.zeros_like(x), 9 * jnp.ones((1, 2))), 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1000, 0), "num_steps"),
        ((10, 11), "num_steps"),
        ((1000, 10, "karras"), "timestep_spacing"),
        ((1000, 1000, "leading", 1), "steps_offset"),
    ],
)
def test_impossible_step_choices_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ddim_timesteps(*arguments)


@pytest.mark.parametrize(
    ("name", "process", "message"),
    [
        ("ddim", RectifiedFlow(), "'ddim' does not fit the noise process RectifiedFlow: use euler."),
        ("dpmpp_2m", EDM(), "'dpmpp_2m' does not fit the noise process EDM: use euler."),
        ("heun", Diffusion(), "'heun' does not fit the noise process Diffusion: use ddim or euler or dpmpp_2m."),
    ],
)
def test_samplers_that_do_not_fit_are_refused_with_those_that_do(name, process, message):
    with pytest.raises(ValueError, match=message):
        make_sampler(name, process, {}, 10)
