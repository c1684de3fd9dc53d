"""The main loss's space and weighting: what is compared, what its gap says of the likelihood score, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.alignment import add_noise
from lisa_jax.objective import Objective
from lisa_jax.processes import EDM, Diffusion, RectifiedFlow
from lisa_jax.weighting import alignment_weight

V = Diffusion(prediction_type="v_prediction")
FLOW = RectifiedFlow(num_train_timesteps=1000)
PROCESSES = {
    "epsilon": Diffusion(),
    "v": V,
    "zero_snr": Diffusion(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    "flow": RectifiedFlow(),
    "flow_of_a_table": FLOW,
    "edm": EDM(),
}
every_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
LATENTS, PRIOR = (jax.random.normal(jax.random.key(seed), (64, 3, 2)) for seed in (0, 1))


@every_process
def test_with_the_usual_fields_it_is_the_process_bit_for_bit(process):
    objective, key = Objective(process), jax.random.key(2)
    noisy, expected = add_noise(LATENTS, key, objective), add_noise(LATENTS, key, process)
    jax.tree.map(np.testing.assert_array_equal, noisy, expected)
    t = noisy.t
    assert objective.regressed(PRIOR, noisy.x_t, t) is PRIOR
    for method in ("weight", "quantile", "network_time"):
        np.testing.assert_array_equal(getattr(objective, method)(t), getattr(process, method)(t))
    np.testing.assert_array_equal(objective.network_input(noisy.x_t, t), process.network_input(noisy.x_t, t))
    assert objective == Objective(process) and hash(objective) == hash(Objective(process))


@every_process
def test_in_x0_space_the_target_is_the_data_and_the_gap_means_the_same_likelihood_score(process):
    objective, key = Objective(process, "x0"), jax.random.key(2)
    noisy, of_network = add_noise(LATENTS, key, objective), add_noise(LATENTS, key, process)
    x_t, t = noisy.x_t, noisy.t
    np.testing.assert_array_equal(noisy.target, LATENTS)
    level = process.coefficients(t).like(x_t)
    scale = level.determinant  # alpha of epsilon: where it is small, float32 knows little of x0
    of_target = objective.regressed(of_network.target, x_t, t)
    np.testing.assert_allclose(scale * of_target, scale * LATENTS, rtol=1e-4, atol=2e-5)
    gap, gap_of_network = noisy.target - objective.regressed(PRIOR, x_t, t), of_network.target - PRIOR
    np.testing.assert_allclose(scale * gap, -level.sigma * gap_of_network, rtol=1e-4, atol=1e-4)
    # In units of 1 / sigma, for both scores grow without bound towards the data.
    scores = objective.likelihood_score(gap, x_t, t), process.likelihood_score(gap_of_network, x_t, t)
    ours, expected = (level.sigma * scale * score for score in scores)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=2e-4 / float(level.sigma.min()))


def test_of_a_flow_the_gap_in_x0_space_is_minus_sigma_times_the_velocity_gap():
    t = jnp.array([1.0, 0.75, 0.1])
    x0, noise, velocity = LATENTS[:3], PRIOR[:3], LATENTS[3:6]
    x_t = FLOW.perturb(x0, noise, t)
    # As diffusers' trainer writes it.
    sigma = t[:, None, None]
    gap = x0 - (velocity * -sigma + x_t)
    np.testing.assert_allclose(Objective(FLOW, "x0").target(x0, noise, t), x0)
    np.testing.assert_allclose(gap, -sigma * (FLOW.target(x0, noise, t) - velocity), atol=1e-6)
    scores = Objective(FLOW, "x0").likelihood_score(gap, x_t, t), FLOW.likelihood_score(-gap / sigma, x_t, t)
    np.testing.assert_allclose(*scores, rtol=1e-5)
    assert not np.any(scores[0][0])  # where x_t is noise alone


@pytest.mark.parametrize("weighting", ["sigma_sqrt", "cosmap"])
def test_the_alignment_term_is_not_weighed_as_the_main_one(weighting):
    t = FLOW.sample_t(jax.random.key(3), 64)
    objective = Objective(FLOW, "x0", weighting)
    assert np.ptp(objective.weight(t)) > 0.1
    np.testing.assert_array_equal(alignment_weight("uniform", objective, t), np.ones(64))
    # By its own weighting alpha / sigma^2, the factor from the gap in x0 space to the likelihood score, counts.
    raw = np.minimum(np.square((1 - t) / t**2), 5)
    weights = alignment_weight("likelihood_score", objective, t)
    np.testing.assert_allclose(weights / weights.max(), raw / raw.max(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("process", "fields", "message"),
    [
        (V, {"weighting": "cosmap"}, r"loss\.weighting 'cosmap' .* process Diffusion: use uniform or min_snr\."),
        (FLOW, {"weighting": "min_snr"}, "process RectifiedFlow: use uniform or sigma_sqrt or cosmap"),
        (EDM(), {"weighting": "min_snr"}, r"process EDM: use uniform\."),
        (V, {"weighting": "snr"}, "'snr' does not fit"),
        (V, {"space": "velocity"}, "loss.space is 'velocity', but must be network or x0"),
        (V, {"min_snr_gamma": 0.0}, "loss.min_snr_gamma is 0.0"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(process, fields, message):
    with pytest.raises(ValueError, match=message):
        Objective(process, **fields)
