import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.evaluation.measures.depth import aligned_depth_rmse, depth_loss, depth_rmse, normalise


def test_each_picture_is_stretched_by_itself_and_a_constant_map_is_zero():
    maps = np.array([[[2, 4], [6, 10]], [[0.1, 0.1], [0.1, 0.1]], [[-1, 1], [0, 1]]])
    assert normalise(maps).tolist() == [[[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]], [[0, 1], [0.5, 1]]]


def test_errors_of_a_hand_worked_case():
    reference = np.array([[[0.0, 0.0], [1.0, 1.0]]])
    # Normalised (0, .5, .5, 1): off by (0, .5, .5, 0). The best line through it has slope 1 and misses by the same.
    estimate = np.array([[[3.0, 5.0], [5.0, 7.0]]])
    assert depth_rmse(estimate, reference) == pytest.approx(np.sqrt(0.5 / 4))
    assert aligned_depth_rmse(estimate, reference) == pytest.approx(np.sqrt(0.5 / 4))


def test_scale_and_shift_do_not_count_but_near_and_far_do():
    reference = np.random.default_rng(0).uniform(0.1, 1.0, (2, 8, 9))
    assert depth_rmse(3 * reference + 7, reference) == pytest.approx(0, abs=1e-12)
    assert aligned_depth_rmse(3 * reference + 7, reference) == pytest.approx(0, abs=1e-12)
    assert (depth_rmse(-reference, reference) > 0.4).all()
    # One stray pixel squeezes the normalised map; the fit forgives most of it.
    stray = reference.copy()
    stray[:, 0, 0] = 10
    assert (depth_rmse(stray, reference) > 0.4).all()
    assert (aligned_depth_rmse(stray, reference) < depth_rmse(stray, reference) - 0.1).all()


def test_alignment_equals_a_least_squares_solver():
    rng = np.random.default_rng(1)
    reference, estimate = rng.uniform(size=(3, 6, 5)), rng.normal(size=(3, 6, 5))
    for found, wanted, given in zip(aligned_depth_rmse(estimate, reference), reference, estimate, strict=True):
        wanted = (wanted.ravel() - wanted.min()) / np.ptp(wanted)
        design = np.stack([given.ravel(), np.ones(30)], axis=1)
        (residual,) = np.linalg.lstsq(design, wanted, rcond=None)[1]
        assert found == pytest.approx(np.sqrt(residual / 30), rel=1e-10)


def test_a_constant_estimate_misses_by_the_relief_of_the_reference():
    reference = np.array([[[0.0, 2.0], [2.0, 4.0]]])
    flat = np.full_like(reference, 0.7)
    assert depth_rmse(flat, reference) == pytest.approx(np.sqrt((0.25 + 0.25 + 1) / 4))
    assert aligned_depth_rmse(flat, reference) == pytest.approx(np.std([0, 0.5, 0.5, 1]))
    assert depth_rmse(flat, flat) == aligned_depth_rmse(flat, flat) == 0


def test_refuses_other_shapes_and_infinite_nearness():
    maps = np.ones((2, 4, 4))
    with pytest.raises(ValueError, match=r"both must be \(n, H, W\)"):
        depth_rmse(maps, maps[:1])
    with pytest.raises(ValueError, match="reference has values that are not finite"):
        aligned_depth_rmse(maps, np.full((2, 4, 4), np.inf))


def test_depth_is_learnt_as_normalised_inverse_depth():
    estimates = jnp.array([0.0, 0.5, 1.0, 1.0]).reshape(1, 2, 2, 1)
    assert depth_loss(estimates, jnp.array([[[0.0, 0.5], [0.5, 1.0]]])) == pytest.approx(0.25 / 4)
