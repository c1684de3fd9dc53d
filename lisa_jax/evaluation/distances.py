"""How far apart two sets of pictures are, from one feature vector a picture: Fréchet distance, KID, precision, recall.

Features come from a network, see `extractors.py`; with the features of videos from a video network, `frechet_distance`
is the Fréchet video distance. Everything here is float64 numpy: one set is (n, d), the other (m, d).
"""

import numpy as np

NEIGHBOUR = 3  # of the paper on precision and recall
MIN_EXAMPLES = NEIGHBOUR + 1


def distances(samples: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """All measures of this file: "fd", "kid", "precision", "recall"."""
    precision, recall = precision_recall(samples, references)
    return {
        "fd": frechet_distance(samples, references),
        "kid": kernel_distance(samples, references),
        "precision": precision,
        "recall": recall,
    }


def frechet_distance(samples: np.ndarray, references: np.ndarray) -> float:
    """Squared Fréchet distance between Gaussians of the sets' means and covariances.

    Dowson and Landau 1982; for features of InceptionV3 it is the FID of Heusel et al., arXiv 1706.08500:
    |mean difference|^2 + tr(A + B - 2 (A B)^(1/2)). It grows as sets get smaller: compare equal n only.

    With A = F^T F and B = G^T G, the eigenvalues of A B are the squared singular values of F G^T, so that the trace of
    the root is their sum: no square root of a matrix, and fewer pictures than dimensions are no special case.

    Raises:
      ValueError: sets that are not (n, d) and (m, d), or with fewer than two rows.
    """
    samples, references = _checked(samples, references, 2)
    factors = [_covariance_factor(features) for features in (samples, references)]
    traces = sum(np.sum(np.square(factor)) for factor in factors)
    overlap = np.sum(np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False))
    difference = np.sum(np.square(samples.mean(axis=0) - references.mean(axis=0)))
    return float(difference + traces - 2 * overlap)


def kernel_distance(samples: np.ndarray, references: np.ndarray) -> float:
    """The kernel distance KID: unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3.

    Binkowski et al., arXiv 1801.01401, over all pairs at once rather than as a mean over blocks. Its expectation does
    not depend on n and is 0 for two sets from one distribution, so that single values can be negative.

    Raises:
      ValueError: as `frechet_distance`.
    """
    samples, references = _checked(samples, references, 2)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_off_diagonal(matrix: np.ndarray) -> float:
        n = len(matrix)
        return (np.sum(matrix) - np.trace(matrix)) / (n * (n - 1))

    within = mean_off_diagonal(kernel(samples, samples)) + mean_off_diagonal(kernel(references, references))
    return float(within - 2 * np.mean(kernel(samples, references)))


def precision_recall(samples: np.ndarray, references: np.ndarray, neighbour: int = NEIGHBOUR) -> tuple[float, float]:
    """Improved precision and recall, Kynkäänniemi et al., arXiv 1904.06991.

    A set covers a point that is no farther from one of its members than that member's `neighbour`-th nearest other
    member. Precision is the share of samples that the references cover, recall that of references that the samples
    cover.

    Raises:
      ValueError: as `frechet_distance`, or a set of `neighbour` pictures or fewer.
    """
    samples, references = _checked(samples, references, neighbour + 1)

    def radii(points: np.ndarray) -> np.ndarray:
        # Sorted, the first is each point itself.
        return np.partition(_squared_distances(points, points), neighbour, axis=1)[:, neighbour]

    between = _squared_distances(samples, references)
    precision = np.mean(np.any(between <= radii(references), axis=1))
    recall = np.mean(np.any(between <= radii(samples)[:, None], axis=0))
    return float(precision), float(recall)


def split_halves(samples: np.ndarray, references: np.ndarray, repeats: int, seed: int) -> list[dict[str, dict]]:
    """`distances` of random halves, the material for intervals and for the floor.

    With h half the size of the smaller set, each repeat draws two disjoint subsets of h references and one of h
    samples.

    Returns:
      For each repeat "samples": distances of the samples' subset to the second references', and "real": of the first
      references' to the second: what the network gives for real pictures, at the same number.
    Raises:
      ValueError: as `frechet_distance`, or sets too small to halve.
    """
    samples, references = _checked(samples, references, 2 * MIN_EXAMPLES)
    half = min(len(samples), len(references)) // 2
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(repeats):
        order = generator.permutation(len(references))
        first, second = references[order[:half]], references[order[half : 2 * half]]
        subset = samples[generator.permutation(len(samples))[:half]]
        drawn.append({"samples": distances(subset, second), "real": distances(first, second)})
    return drawn


def _covariance_factor(features: np.ndarray) -> np.ndarray:
    """F (min(n, d), d) with F^T F the unbiased covariance of features (n, d)."""
    n, width = features.shape
    centred = (features - features.mean(axis=0)) / np.sqrt(n - 1)
    return np.linalg.qr(centred, mode="r") if n > width else centred


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of every row of a (n, d) to every row of b (m, d): (n, m)."""
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    norms = np.sum(np.square(a), axis=1)[:, None] + np.sum(np.square(b), axis=1)
    squared = norms - 2 * a @ b.T
    # Equal rows give rounding errors; as zeros they compare as equal.
    return np.where(squared > 1e-12 * norms, squared, 0.0)


def _checked(samples: np.ndarray, references: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    for name, features in (("samples", samples), ("references", references)):
        if features.ndim != 2 or features.shape[1:] != samples.shape[1:] or len(features) < least:
            raise ValueError(
                f"{name} are {features.shape}, but features must be (n, d), of one d, for {least} pictures or more."
            )
        if not np.isfinite(features).all():
            raise ValueError(f"Features of {name} are not all finite numbers.")
    return samples.astype(np.float64), references.astype(np.float64)
