"""Linear probes: how much of a quantity a linear map of features tells about samples that it was not fitted on.

Ridge regression in closed form, in float64, of centred targets on standardised features:

    minimise over W   mean |y - W z|^2 + strength |W|^2,      z = (x - mean x) / sd x

The strength is chosen on validation samples; what counts is R^2 on test samples (Alain and Bengio, arXiv 1610.01644).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

# From next to none to so strong that only the mean is left.
STRENGTHS = tuple(10.0**power for power in range(-6, 4))


class Parts(NamedTuple):
    """Rows by what they are for: each (n_part, d)."""

    fit: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclasses.dataclass(frozen=True)
class LinearProbe:
    """A fitted linear map from features (n, d) to targets (n, k); float64.

    Attributes:
      centre, scale: (d,), what standardises the features.
      weights: (d, k), on standardised features.
      bias: (k,), the mean of the targets.
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.centre) / self.scale @ self.weights + self.bias


def ridge(features: np.ndarray, targets: np.ndarray, strengths: Sequence[float] = STRENGTHS) -> list[LinearProbe]:
    """Fit one probe for each strength.

    Args:
      features: (n, d), any real dtype. A feature that is constant gets weight 0.
      targets: (n, k).
      strengths: penalties, each positive.

    Raises:
      ValueError: rows that do not match, or values that are not finite.
    """
    if len(features) != len(targets):
        raise ValueError(f"A probe has {len(features)} rows of features, but {len(targets)} of targets.")
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    for name, values in (("features", x), ("targets", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"A probe's {name} are not finite: the network diverged, or its input is damaged.")
    centre, scale, bias = x.mean(axis=0), x.std(axis=0), y.mean(axis=0)
    # Below rounding of float32 features there is nothing to scale up.
    scale = np.where(scale > 1e-6 * np.abs(centre), scale, np.inf)
    z = (x - centre) / scale
    # One decomposition serves all strengths: (C + s I)^-1 = V (L + s)^-1 V'.
    variances, axes = np.linalg.eigh(z.T @ z / len(z))
    moments = axes.T @ (z.T @ (y - bias) / len(z))
    variances = np.maximum(variances, 0.0)[:, None]
    return [LinearProbe(centre, scale, axes @ (moments / (variances + strength)), bias) for strength in strengths]


def r_squared(targets: np.ndarray, predictions: np.ndarray) -> float:
    """Share of the variance of targets (n, k), all k together, that predictions explain.

    1 is perfect; 0 is what the targets' own mean does, so a probe that knows nothing comes out at 0 or a little below.

    Raises:
      ValueError: the targets do not vary.
    """
    targets = np.asarray(targets, np.float64)
    variation = np.sum((targets - targets.mean(axis=0)) ** 2)
    if variation == 0:
        raise ValueError("The targets of a probe do not vary: there is nothing to explain.")
    return float(1 - np.sum((targets - predictions) ** 2) / variation)


def probe(features: Parts, targets: Mapping[str, Parts]) -> dict[str, float]:
    """R^2 on the test rows of the linear probe of every target, (n, k) each, from features (n, d).

    Nothing of the test rows enters a fit or the choice of a strength, which is made for each target by R^2 on the
    validation rows.

    Raises:
      ValueError: as `ridge` and `r_squared`, with the target's name.
    """
    widths = [part.fit.shape[1] for part in targets.values()]
    ends = np.cumsum(widths)
    together = np.concatenate([part.fit for part in targets.values()], axis=1)
    probes = ridge(features.fit, together)
    validation, found = [one(features.validation) for one in probes], {}
    for (name, part), end, width in zip(targets.items(), ends, widths, strict=True):
        columns = slice(end - width, end)
        try:
            scores = [r_squared(part.validation, predicted[:, columns]) for predicted in validation]
            best = probes[int(np.argmax(scores))]
            found[name] = r_squared(part.test, best(features.test)[:, columns])
        except ValueError as error:
            raise ValueError(f"'{name}' cannot be probed: {error}") from None
    return found
