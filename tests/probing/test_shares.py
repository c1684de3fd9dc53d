"""Shares of the gap: closed forms for Gaussian data, with and without the noise that nobody can explain."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.alignment import Alignment
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput
from lisa_jax.evaluation import gaussian
from lisa_jax.metrics import Mean
from lisa_jax.objective import Objective
from lisa_jax.probing.features import noisy_sample
from lisa_jax.probing.shares import explained, gap_losses
from lisa_jax.processes import Diffusion

# x0 ~ N(0, 1) and c = x0 + N(0, 1/4): everything is Gaussian.
MIXTURE = gaussian.GaussianMixture(jnp.zeros(1), jnp.zeros((1, 1)), jnp.ones((1, 1, 1)))
MATRIX, NOISE_STD = jnp.ones((1, 1)), 0.5
PROCESS = Diffusion()


def exact(x_t, t, condition=None):
    """E[eps | x_t], or E[eps | x_t, c]: the prior, and what perfect control predicts."""
    t = jnp.round(t).astype(jnp.int32)
    score = gaussian.prior_score(MIXTURE, PROCESS, x_t, t)
    if condition is not None:
        score += gaussian.likelihood_score(MIXTURE, MATRIX, NOISE_STD, PROCESS, x_t, t, condition)
    return gaussian.score_to_prediction(score, PROCESS, x_t, t)


def apply(params, trunk, x_t, t, context, condition):
    gap = exact(x_t, t, condition) - exact(x_t, t)
    return SideOutput((params["gain"] * gap,), {"known": gap, "unknown": jnp.zeros_like(gap)})


MODEL = DualBranch(
    trunk=lambda frozen, x_t, t, context: exact(x_t, t),
    predict=lambda frozen, trunk, residuals=None: trunk if residuals is None else trunk + residuals[0],
    joined=lambda trunk: (trunk,),
    sides={
        "measured": SideNetwork(
            apply,
            init=None,
            decode=lambda decoder, feature, t, shape: decoder["gain"] * feature,
            init_decoder=None,
            hooks=("known", "unknown"),
        )
    },
)


def gain(value):
    return {"measured": {"gain": value}}


@functools.partial(jax.jit, static_argnames=("hooks", "process"))
def losses(trainable, inputs, noisy, hooks, process=PROCESS):
    align = Alignment(hooks) if hooks else None
    return gap_losses(trainable, {}, inputs, noisy, model=MODEL, process=process, align=align)


@pytest.fixture(scope="module")
def data():
    """(inputs, noisy sample, variance of eps given x_t, and given c too) at step 400."""
    generator = np.random.default_rng(0)
    x0, measured, noise = (jnp.asarray(generator.normal(size=(8_000, 1)), jnp.float32) for _ in range(3))
    inputs = {"context": jnp.zeros((len(x0), 1, 1)), "condition": {"measured": x0 + NOISE_STD * measured}}
    noisy = noisy_sample(PROCESS, x0, noise, jnp.int32(400))
    level = PROCESS.coefficients(jnp.int32([400]))
    odds = float(level.alpha[0] / level.sigma[0]) ** 2
    # eps = (x_t - alpha x0) / sigma, and the precision of x0 is the sum of what prior, x_t and c give.
    return inputs, noisy, odds / (1 + odds), odds / (1 + odds + NOISE_STD**-2)


def test_with_the_drawn_target_the_exact_score_explains_what_closed_form_says(data):
    inputs, noisy, given_x_t, given_both = data
    params = {"side": gain(1.0), "decoder": {"known": gain(1.0)}}
    found = explained(losses(params, inputs, noisy, ("known",)))
    assert 0.2 < 1 - given_both / given_x_t < 0.9
    assert found["r2"] == pytest.approx(1 - given_both / given_x_t, abs=0.02)
    assert found["network_r2"] == pytest.approx(found["r2"], abs=1e-5)


def test_with_the_true_target_it_is_r_squared_against_the_true_likelihood_score(data):
    inputs, noisy, *_ = data
    known = noisy._replace(target=jax.jit(exact)(noisy.x_t, noisy.t, inputs["condition"]["measured"]))
    params = {"side": gain(0.5), "decoder": {"known": gain(1.0), "unknown": gain(1.0)}}
    found = explained(losses(params, inputs, known, ("known", "unknown")))
    assert found["r2/known"] == pytest.approx(1, abs=1e-5) and found["r2/unknown"] == pytest.approx(0, abs=1e-5)
    # Two decoders count by the mean of their errors. Half of the way leaves a quarter of the power.
    assert found["r2"] == pytest.approx(0.5, abs=1e-5) and found["network_r2"] == pytest.approx(0.75, abs=1e-4)


def test_plain_training_has_the_share_of_the_network_only(data):
    inputs, noisy, given_x_t, given_both = data
    found = explained(losses({"side": gain(1.0)}, inputs, noisy, ()))
    assert found == {"r2": None, "network_r2": pytest.approx(1 - given_both / given_x_t, abs=0.02)}


def test_where_x0_was_trained_the_shares_are_the_same_and_a_decoder_is_held_against_the_gap_of_x0(data):
    inputs, noisy, given_x_t, given_both = data
    in_x0 = noisy._replace(target=PROCESS.denoised(noisy.target, noisy.x_t, noisy.t))
    level = PROCESS.coefficients(jnp.int32([400]))
    params = {"side": gain(1.0), "decoder": {"known": gain(-level.sigma / level.alpha)}}
    for hooks, share in (((), None), (("known",), pytest.approx(1 - given_both / given_x_t, abs=0.02))):
        found = explained(losses(params, inputs, in_x0, hooks, Objective(PROCESS, "x0")))
        assert found["network_r2"] == pytest.approx(1 - given_both / given_x_t, abs=0.02)
        assert found["r2"] == share


def test_no_gap_is_an_error():
    with pytest.raises(ValueError, match="there is no gap to explain"):
        explained(
            {"main_loss": Mean(jnp.float32(0), jnp.float32(4)), "gap_power": Mean(jnp.float32(0), jnp.float32(4))}
        )
