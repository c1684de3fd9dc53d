import numpy as np
import pytest
import scipy.linalg

from lisa_jax.evaluation.distances import frechet_distance, kernel_distance, precision_recall, split_halves


def features(n, width, seed, spread=None, shift=0.0):
    drawn = np.random.default_rng(seed).normal(size=(n, width))
    return drawn * (1 if spread is None else spread) + shift


def with_moments(mean, covariance):
    """Four points with exactly this mean and unbiased covariance, in the plane."""
    root = scipy.linalg.sqrtm(np.asarray(covariance, float)).real
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3 / 4)
    return corners @ root + mean


def test_frechet_distance_of_gaussians_by_hand():
    # Commuting covariances: |m|^2 + sum of (sqrt(a) - sqrt(b))^2 over the shared axes.
    first = with_moments([0, 0], np.diag([4.0, 9.0]))
    second = with_moments([3, 4], np.diag([1.0, 25.0]))
    assert frechet_distance(first, second) == pytest.approx(25 + (2 - 1) ** 2 + (3 - 5) ** 2)
    # Not commuting: A = diag(4, 1), B = [[2, 1], [1, 2]]. In two dimensions tr sqrt(AB) = sqrt(tr AB + 2 sqrt(det AB)),
    # tr AB = 10, det AB = 12.
    third = with_moments([0, 0], np.diag([4.0, 1.0]))
    fourth = with_moments([0, 0], [[2, 1], [1, 2]])
    assert frechet_distance(third, fourth) == pytest.approx(5 + 4 - 2 * np.sqrt(10 + 2 * np.sqrt(12)))


@pytest.mark.parametrize(("n", "m", "width"), [(60, 45, 8), (12, 9, 8)])
def test_frechet_distance_equals_the_formula_with_a_matrix_root(n, m, width):
    first, second = features(n, width, 0), features(m, width, 1, np.linspace(0.5, 2, width), 0.3)
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(a + b - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_with_fewer_pictures_than_dimensions():
    first, second = features(6, 40, 0), features(9, 40, 1)
    # In coordinates of the space that the points span, there are more points than needed and nothing changes.
    basis = np.linalg.qr(np.concatenate([first, second]).T)[0]
    a, b = np.cov(first @ basis, rowvar=False), np.cov(second @ basis, rowvar=False)
    half = scipy.linalg.sqrtm(a + 1e-13 * np.eye(15))
    eigenvalues = np.clip(np.linalg.eigvalsh((half @ b @ half).real), 0, None)
    expected = np.sum((first.mean(0) - second.mean(0)) ** 2) + np.trace(a) + np.trace(b)
    assert frechet_distance(first, second) == pytest.approx(expected - 2 * np.sum(np.sqrt(eigenvalues)), rel=1e-5)
    assert frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_by_hand_and_without_bias():
    first, second = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [2.0, 0.0]])
    # Kernels: 1 within the first; (2 / 2 + 1)^3 within the second; 1.5^3, 2^3, 1.5^3 and 1^3 between.
    assert kernel_distance(first, second) == pytest.approx(1 + 8 - 2 * (3.375 + 8 + 3.375 + 1) / 4)
    # Two small sets of one distribution: zero on average, where the biased estimate is not.
    values = [kernel_distance(features(5, 3, seed), features(5, 3, seed + 1000)) for seed in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20 < 0.5


def test_precision_and_recall_by_hand():
    references = np.array([[0.0], [1.0], [2.0], [10.0]])
    samples = np.array([[0.5], [1.5], [2.5], [30.0]])
    # Radii, to the nearest other one: 1, 1, 1, 8 of references, and 30 is 20 from 10; 1, 1, 1, 27.5 of samples.
    assert precision_recall(samples, references, neighbour=1) == (0.75, 1.0)
    assert precision_recall(references, samples, neighbour=1) == (1.0, 0.75)
    # Collapse onto one real picture: precise, but of the references only that picture itself is covered.
    assert precision_recall(np.tile(references[2], (4, 1)), references, neighbour=1) == (1.0, 0.25)


def test_halves_tell_shifted_samples_from_real_pictures():
    references = features(60, 4, 0)
    halves = split_halves(features(80, 4, 1, shift=2.0), references, repeats=5, seed=0)
    assert all(half["samples"]["fd"] > 10 > half["real"]["fd"] > 0 for half in halves)
    # The halves of the references share no picture: the distance of a set to itself would be 0.
    assert len({half["real"]["fd"] for half in halves}) == 5


def test_spread_of_halves_is_that_of_whole_sets_and_the_bootstrap_would_not_do():
    def draw(seed):
        return features(48, 64, seed, np.linspace(0.2, 2, 64), 0.2), features(
            48, 64, seed + 500, np.linspace(0.2, 2, 64)
        )

    true = np.array([frechet_distance(*draw(seed)) for seed in range(60)])
    halves = split_halves(*draw(0), repeats=40, seed=0)
    spread = np.std([half["samples"]["fd"] for half in halves], ddof=1)
    assert 0.7 < spread / np.std(true, ddof=1) < 2
    samples, references = draw(0)
    generator = np.random.default_rng(0)
    bootstrap = [frechet_distance(samples[generator.integers(48, size=48)], references) for _ in range(20)]
    assert np.mean(bootstrap) > true.mean() + 4 * true.std()


def test_refusals():
    good = features(6, 3, 0)
    with pytest.raises(ValueError, match=r"references are \(6, 2\)"):
        frechet_distance(good, good[:, :2])
    with pytest.raises(ValueError, match="for 2 pictures or more"):
        kernel_distance(good[:1], good)
    with pytest.raises(ValueError, match="for 4 pictures or more"):
        precision_recall(good, good[:3])
    with pytest.raises(ValueError, match="for 8 pictures or more"):
        split_halves(good, good, 1, 0)
    with pytest.raises(ValueError, match="samples are not all finite"):
        frechet_distance(good * np.nan, good)
