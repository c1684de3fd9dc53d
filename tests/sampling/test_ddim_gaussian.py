"""DDIM on data with a known exact denoiser."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.processes import Diffusion
from lisa_jax.sampling.ddim import ddim_sample, ddim_timesteps


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_samples_of_gaussian_data_have_its_mean_and_spread(prediction_type, spacing):
    process = Diffusion(prediction_type=prediction_type)
    mean, std = 1.5, 0.4

    def predict(x_t, t):
        level = process.coefficients(t).like(x_t)
        gain = level.alpha * std**2 / (level.alpha**2 * std**2 + level.sigma**2)
        return process.prediction(mean + gain * (x_t - level.alpha * mean), x_t, t)

    x_T = jax.random.normal(jax.random.key(0), (4000, 2))
    x0 = ddim_sample(predict, process, x_T, 200, timestep_spacing=spacing, steps_offset=0, set_alpha_to_one=True)
    assert x0.dtype == jnp.float32
    # SD's last alpha is 0.068, not 0, so starting from standard normal noise biases the mean a little.
    assert abs(float(x0.mean()) - mean) < 0.05
    assert abs(float(x0.std()) / std - 1) < 0.1


def test_predict_receives_integer_steps_and_any_dtype_of_output():
    seen = []

    def predict(x_t, t):
        seen.append((t.dtype, t.shape))
        return x_t.astype(jnp.bfloat16)

    x0 = ddim_sample(predict, Diffusion(), jnp.ones((3, 2)), 4)
    assert seen[0] == (jnp.int32, (3,)) and x0.dtype == jnp.float32 and bool(jnp.isfinite(x0).all())


def test_clip_range_bounds_the_result():
    x0 = ddim_sample(
        lambda x, t: jnp.zeros_like(x), Diffusion(), 9 * jnp.ones((1, 2)), 5, set_alpha_to_one=True, clip_range=1.0
    )
    np.testing.assert_allclose(x0, 1.0)


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
