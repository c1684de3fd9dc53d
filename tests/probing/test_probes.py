"""Linear probes: against closed forms and numpy, with known R^2, and deaf to the test rows."""

import numpy as np
import pytest

from lisa_jax.probing.probes import Parts, probe, r_squared, ridge


def parts(rows: np.ndarray) -> Parts:
    """The first half to fit, a quarter to validate and a quarter to test."""
    half, quarter = len(rows) // 2, len(rows) // 4
    return Parts(rows[:half], rows[half : half + quarter], rows[half + quarter :])


def test_without_a_penalty_it_is_least_squares():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(50, 4)) * [1, 10, 0.1, 1] + [0, 100, 0, -3]
    y = generator.normal(size=(50, 2))
    (fitted,) = ridge(x, y, [1e-12])
    solution = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    expected = np.column_stack([x, np.ones(50)]) @ solution
    np.testing.assert_allclose(fitted(x), expected, atol=1e-7)


def test_the_penalty_is_ridge_regression_on_standardised_features():
    # By hand: z = -1, 1, so the mean of z^2 is 1, that of z y is 3, and the weight is 3 / (1 + 0.5) = 2.
    (fitted,) = ridge(np.array([[10.0], [30.0]]), np.array([[-2.0], [4.0]]), [0.5])
    np.testing.assert_allclose(fitted(np.array([[10.0], [20.0], [40.0]])), [[-1.0], [1.0], [5.0]])

    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(40, 3)), generator.normal(size=(40, 2))
    z = (x - x.mean(0)) / x.std(0)
    weights = np.linalg.solve(z.T @ z + 40 * 0.3 * np.eye(3), z.T @ (y - y.mean(0)))
    (fitted,) = ridge(x, y, [0.3])
    np.testing.assert_allclose(fitted(x), z @ weights + y.mean(0), atol=1e-12)


def test_r_squared_by_hand():
    targets = np.array([[0.0, 1.0], [2.0, 1.0]])
    assert r_squared(targets, targets) == 1
    assert r_squared(targets, targets.mean(0)) == 0
    # Squared errors sum to 1, squared deviations to 2.
    assert r_squared(targets, np.array([[1.0, 1.0], [2.0, 1.0]])) == 0.5


def test_finds_the_share_that_is_linear_in_the_features():
    generator = np.random.default_rng(2)
    x = generator.normal(size=(16_000, 8)).astype(np.float32) * 5 + 3
    signal = (x - 3) / 5 @ generator.normal(size=(8, 3))
    noise = generator.normal(size=signal.shape) * signal.std(0)
    # Noise of half, and of twice, the signal's size: 1 / (1 + 1/4) and 1 / (1 + 4) of the variance are explained.
    targets = {"clear": parts(signal + 0.5 * noise), "hidden": parts(signal + 2 * noise), "only noise": parts(noise)}
    found = probe(parts(x), targets)
    assert found["clear"] == pytest.approx(0.8, abs=0.01)
    assert found["hidden"] == pytest.approx(0.2, abs=0.02)
    assert -0.005 < found["only noise"] < 0.005


def test_the_validated_penalty_keeps_chance_at_zero_with_more_features_than_rows():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(200, 150)), generator.normal(size=(200, 1))
    chance = probe(parts(x), {"chance": parts(y)})["chance"]
    assert -0.15 < chance <= 0.02
    overfit = r_squared(y[150:], ridge(x[:100], y[:100], [1e-9])[0](x[150:]))
    assert overfit < -0.5


def test_test_rows_decide_nothing_but_the_score():
    generator = np.random.default_rng(4)
    x = generator.normal(size=(400, 5))
    y = x[:, :1] + generator.normal(size=(400, 1))
    features, targets = parts(x), parts(y)
    found = probe(features, {"y": targets})["y"]
    # Fitted and validated on what it knew, it is wrong about test rows whose sign is turned.
    turned = probe(features, {"y": targets._replace(test=-targets.test)})["y"]
    assert found > 0.4 and turned < -0.4
    # Neither order nor number of the test rows changes a prediction.
    again = probe(features._replace(test=features.test[::-1]), {"y": targets._replace(test=targets.test[::-1])})["y"]
    assert again == pytest.approx(found, abs=1e-12)


def test_a_constant_feature_is_no_harm():
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(200, 2)), generator.normal(size=(200, 1))
    constant = np.full((200, 1), 0.1, np.float32)
    with_it = probe(parts(np.concatenate([x, constant], axis=1)), {"y": parts(y)})
    assert with_it["y"] == pytest.approx(probe(parts(x), {"y": parts(y)})["y"], abs=1e-9)


def test_refusals():
    x, y = np.ones((8, 2)), np.arange(8.0)[:, None]
    with pytest.raises(ValueError, match="8 rows of features, but 7 of targets"):
        ridge(x, y[:7])
    with pytest.raises(ValueError, match="features are not finite"):
        ridge(x * np.nan, y)
    with pytest.raises(ValueError, match="'blank' cannot be probed: The targets of a probe do not vary"):
        probe(parts(y), {"blank": parts(x)})
