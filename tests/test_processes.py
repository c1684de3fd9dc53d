"""Noise processes: the same point in every parametrisation, closed forms on Gaussian data, diffusers' schedules."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.processes import EDM, Diffusion, RectifiedFlow

EPSILON = Diffusion()
V = Diffusion(prediction_type="v_prediction")
ZERO_SNR = Diffusion(prediction_type="v_prediction", rescale_betas_zero_snr=True)
PROCESSES = {
    "epsilon": EPSILON,
    "v": V,
    "rectified_flow": RectifiedFlow(),
    "flow_of_a_table": RectifiedFlow(num_train_timesteps=1000),
    "edm": EDM(),
}
every_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())


def normals(seed: int, *shape: int) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(seed))
    return jax.random.normal(keys[0], shape), jax.random.normal(keys[1], shape)


@every_process
def test_target_is_the_prediction_that_returns_data_and_noise(process):
    x0, noise = normals(0, 64, 3, 2)
    t = process.sample_t(jax.random.key(1), 64)
    x_t, target = process.perturb(x0, noise, t), process.target(x0, noise, t)
    level = process.coefficients(t).like(x_t)
    # Dividing by a small alpha or sigma magnifies float32 rounding, so compare at the scale of x_t.
    np.testing.assert_allclose(level.alpha * process.denoised(target, x_t, t), level.alpha * x0, atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(
        level.sigma * process.noise_estimate(target, x_t, t), level.sigma * noise, atol=2e-5, rtol=1e-4
    )
    recovered = process.prediction(process.denoised(target, x_t, t), x_t, t)
    np.testing.assert_allclose(level.sigma * recovered, level.sigma * target, atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(process.score(target, x_t, t), -noise / level.sigma, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("step", [20, 300, 700])
def test_one_noisy_point_means_the_same_in_every_process(step):
    """A shared x0 estimate and signal-to-noise ratio: predictions differ, scores agree up to the scale of x_t."""
    x0, noise = normals(2, 8, 5)
    estimate = 0.3 * x0 + 0.1
    t = jnp.full((8,), step, jnp.int32)
    a, s = (float(table[step]) for table in EPSILON.alpha_sigma_tables())
    # x_t / a has noise s/a (EDM); x_t / (a + s) lies on the straight line at sigma s/(a + s).
    cases = {
        "epsilon": (EPSILON, t, 1.0),
        "v": (V, t, 1.0),
        "rectified_flow": (RectifiedFlow(), jnp.full((8,), s / (a + s)), 1 / (a + s)),
        "edm": (EDM(), jnp.full((8,), s / a), 1 / a),
    }
    x_t = EPSILON.perturb(x0, noise, t)
    expected_score = (a * estimate - x_t) / s**2
    expected_likelihood = a * (x0 - estimate) / s**2
    for process, time, scale in cases.values():
        x = scale * x_t
        np.testing.assert_allclose(process.perturb(x0, noise, time), x, atol=1e-5, rtol=1e-5)
        prediction = process.prediction(estimate, x, time)
        np.testing.assert_allclose(process.denoised(prediction, x, time), estimate, atol=2e-4, rtol=1e-4)
        np.testing.assert_allclose(scale * process.score(prediction, x, time), expected_score, atol=1e-3, rtol=1e-3)
        gap = process.target(x0, noise, time) - prediction
        np.testing.assert_allclose(
            scale * process.likelihood_score(gap, x, time), expected_likelihood, atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize(
    ("process", "t", "factor"),
    [
        (EPSILON, 400, lambda a, s: -1 / s),
        (V, 400, lambda a, s: -a / s),
        (RectifiedFlow(), 0.3, lambda a, s: -(1 - s) / s),
        (EDM(), 1.7, lambda a, s: -1 / (s * np.sqrt(s**2 + 1))),
    ],
    ids=["epsilon", "v", "rectified_flow", "edm"],
)
def test_mean_gap_on_gaussian_data_is_the_likelihood_score(process, t, factor):
    """Monte Carlo: regress target - prior on (x_t, c) and compare with closed forms written out here.

    x0 ~ N(mu, d^2), c = x0 + tau z. Everything is jointly Gaussian, so conditional means are linear in (x_t, c).
    """
    n, mu, d, tau = 200_000, 0.7, 1.3, 0.5
    keys = jax.random.split(jax.random.key(3), 3)
    x0 = mu + d * jax.random.normal(keys[0], (n,))
    noise = jax.random.normal(keys[1], (n,))
    c = x0 + tau * jax.random.normal(keys[2], (n,))
    time = jnp.full((n,), t)
    a, s = (float(value[0]) for value in process.coefficients(time)[:2])
    x_t = process.perturb(x0, noise, time)

    def score_slope_and_offset(mean, variance):
        """grad log N(x; a mean, a^2 variance + s^2) = slope x + offset."""
        total = a**2 * variance + s**2
        return -1 / total, a * mean / total

    prior_slope, prior_offset = score_slope_and_offset(mu, d**2)
    prior_score = prior_slope * x_t + prior_offset
    prior = process.prediction((x_t + s**2 * prior_score) / a, x_t, time)
    np.testing.assert_allclose(process.score(prior, x_t, time), prior_score, atol=1e-3)

    gap = process.target(x0, noise, time) - prior
    # The factor of METHOD's table, written out independently of the shared algebra.
    np.testing.assert_allclose(process.likelihood_score(gap, x_t, time), factor(a, s) * gap, rtol=1e-4, atol=1e-5)
    learned = process.likelihood_score(gap, x_t, time)
    design = np.stack([np.asarray(x_t), np.asarray(c), np.ones(n)], axis=1).astype(np.float64)
    measured = np.linalg.lstsq(design, np.asarray(learned, np.float64), rcond=None)[0]

    posterior_variance = 1 / (1 / d**2 + 1 / tau**2)
    slope, offset_per_mean = score_slope_and_offset(1.0, posterior_variance)
    exact = [
        slope - prior_slope,
        offset_per_mean * posterior_variance / tau**2,
        offset_per_mean * posterior_variance * mu / d**2 - prior_offset,
    ]
    np.testing.assert_allclose(measured, exact, atol=0.02 * np.abs(exact).max())


@every_process
def test_times_are_valid_and_their_quantile_is_uniform(process):
    t = process.sample_t(jax.random.key(4), 40_000)
    quantile = np.asarray(process.quantile(t))
    assert t.shape == (40_000,) and quantile.dtype == np.float32
    assert quantile.min() >= 0 and quantile.max() < 1
    counts = np.histogram(quantile, bins=20, range=(0, 1))[0] / 2000
    np.testing.assert_allclose(counts, 1, atol=0.1)
    order = np.argsort(np.asarray(t))
    assert (np.diff(quantile[order]) >= 0).all()


@pytest.mark.parametrize(
    "process",
    [
        RectifiedFlow(shift=1.0, time_distribution="uniform"),
        RectifiedFlow(logit_mean=0.5),
        RectifiedFlow(time_distribution="uniform", num_train_timesteps=1000),
        RectifiedFlow(logit_mean=0.5, num_train_timesteps=1000),
    ],
)
def test_flow_time_distributions(process):
    t = process.sample_t(jax.random.key(5), 40_000)
    assert t.min() > 0 and (t.max() < 1 or process.num_train_timesteps)
    counts = np.histogram(process.quantile(t), bins=10, range=(0, 1))[0] / 4000
    np.testing.assert_allclose(counts, 1, atol=0.1)


def test_quantile_of_extreme_times_stays_below_one():
    assert float(EDM().quantile(jnp.array([1e30]))[0]) < 1
    assert float(RectifiedFlow().quantile(jnp.array([1.0]))[0]) < 1


def test_what_the_network_receives():
    x = jnp.ones((2, 2, 2, 1))
    np.testing.assert_array_equal(EPSILON.network_time(jnp.array([0, 999])), np.float32([0, 999]))
    assert EPSILON.network_time(jnp.array([0])).dtype == jnp.float32
    np.testing.assert_allclose(RectifiedFlow().network_time(jnp.array([0.25, 0.5])), [250, 500])
    np.testing.assert_allclose(RectifiedFlow(num_train_timesteps=20).network_time(jnp.array([0.25, 0.5])), [5, 10])
    np.testing.assert_allclose(EDM().network_time(jnp.array([1.0, np.e])), [0, 0.25], atol=1e-6)
    np.testing.assert_allclose(
        EDM().network_input(x, jnp.array([1.0, 3.0]))[:, 0, 0, 0], [0.5**0.5, 0.1**0.5], rtol=1e-5
    )
    assert EPSILON.network_input(x, jnp.array([0, 1])) is x


@every_process
def test_processes_are_hashable_static_arguments(process):
    assert hash(process) == hash(dataclasses.replace(process)) and process == dataclasses.replace(process)
    perturb = jax.jit(lambda process, x0, noise, t: process.perturb(x0, noise, t), static_argnums=0)
    x0, noise = normals(6, 4, 2)
    t = process.sample_t(jax.random.key(7), 4)
    np.testing.assert_allclose(perturb(process, x0, noise, t), process.perturb(x0, noise, t), atol=1e-4, rtol=1e-5)
    np.testing.assert_array_equal(process.weight(t), np.ones(4, np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RectifiedFlow(shift=0.0),
        lambda: RectifiedFlow(time_distribution="mode"),
        lambda: RectifiedFlow(num_train_timesteps=0),
        lambda: EDM(log_std=0.0),
        lambda: Diffusion(num_train_timesteps=0),
    ],
)
def test_impossible_processes_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_where_there_is_noise_alone_the_likelihood_score_is_zero_and_every_quantity_is_finite():
    x0, noise = normals(8, 2, 3)
    last = jnp.full((2,), 999)
    x_t, v = ZERO_SNR.perturb(x0, noise, last), ZERO_SNR.target(x0, noise, last)
    np.testing.assert_array_equal(x_t, noise)
    np.testing.assert_array_equal(ZERO_SNR.likelihood_score(v, x_t, last), np.zeros((2, 3)))
    np.testing.assert_array_equal(ZERO_SNR.denoised(v, x_t, last), x0)
    np.testing.assert_array_equal(ZERO_SNR.score(v, x_t, last), -noise)
    np.testing.assert_array_equal(ZERO_SNR.prediction(x0, x_t, last), v)
