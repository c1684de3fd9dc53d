"""Weights of the alignment loss by noise level, against their formulas and with mean 1 over the training levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.processes import EDM, Diffusion, RectifiedFlow
from lisa_jax.weighting import WEIGHTINGS, alignment_weight

# Process -> (squared factor from gap to likelihood score) at alpha and sigma, written out by hand.
FACTORS = {
    Diffusion(): lambda a, s: 1 / s**2,
    Diffusion(prediction_type="v_prediction"): lambda a, s: a**2 / s**2,
    RectifiedFlow(): lambda a, s: (1 - s) ** 2 / s**2,
    EDM(): lambda a, s: 1 / (s**2 * (s**2 + 1)),
}


@pytest.mark.parametrize("process", FACTORS, ids=lambda process: f"{type(process).__name__}")
def test_weights_have_mean_one_and_the_documented_form(process):
    if isinstance(process, Diffusion):
        t = jnp.arange(process.num_train_timesteps)
    else:
        t = process.sample_t(jax.random.key(7), 200_000)
    c, q = process.coefficients(t), process.quantile(t)
    squared = FACTORS[process](np.asarray(c.alpha, np.float64), np.asarray(c.sigma, np.float64))
    raw = {
        "uniform": np.ones(len(t)),
        "likelihood_score": np.minimum(squared, 5),
        "high_noise": q,
        "low_noise": 1 - q,
    }
    assert raw.keys() == set(WEIGHTINGS)
    for name, expected in raw.items():
        weight = np.asarray(jax.jit(lambda t, name=name: alignment_weight(name, process, t))(t))
        assert weight.dtype == np.float32
        assert weight.mean() == pytest.approx(1, abs=0.01)
        np.testing.assert_allclose(weight, expected / expected.mean(), rtol=0.02, atol=1e-4)
    assert squared.max() > 5  # the bound is at work


def test_an_unknown_weighting_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'min_snr' .* uniform, likelihood_score, high_noise, low_noise"):
        alignment_weight("min_snr", Diffusion(), jnp.zeros(1, jnp.int32))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_step_that_is_noise_alone_has_a_finite_weight(weighting):
    process = Diffusion(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    weights = alignment_weight(weighting, process, jnp.arange(1000))
    assert np.isfinite(weights).all()
    if weighting == "likelihood_score":
        assert weights[-1] == 0
