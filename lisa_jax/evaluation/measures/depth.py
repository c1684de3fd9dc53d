"""Depth: errors of depth maps that are known up to scale and shift.

What is compared is *inverse* depth, large where the scene is near, as MiDaS estimates it: the inverse depth that an
estimator sees in a sample against the true one (1 / distance) of the example that the sample was asked to follow, or,
where truth is not known, against the one that the same estimator sees in the real picture. The paper's authors hold it
against the condition picture, which is the inverse depth that an estimator drew.
"""

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.evaluation.measures.task_measures import NetworkMeasures, Reading, TaskMeasures


def inverse(distances: np.ndarray) -> np.ndarray:
    """1 / distance, in the dtype of the distances.

    Raises:
      ValueError: a distance that is not above 0.
    """
    if not np.min(distances) > 0:
        raise ValueError(f"truth holds a depth of {np.min(distances)}, but depths must be above 0.")
    return 1 / np.asarray(distances)


def normalise(maps: np.ndarray) -> np.ndarray:
    """Stretch each map from its minimum to its maximum onto 0..1: float64 (n, H, W) from (n, H, W).

    A constant map becomes 0 everywhere: it shows nothing that is nearer than the rest.
    """
    maps = np.asarray(maps, np.float64)
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1.0)


def depth_rmse(estimated: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Root mean square error of each picture's inverse depth, both maps normalised to 0..1: float64 (n,), 0 is best.

    The paper's measure of depth control. A single stray pixel can set a map's minimum or maximum; `aligned_depth_rmse`
    is less sensitive to that.

    Args:
      estimated: inverse depth, (n, H, W), in any unit.
      reference: likewise.

    Raises:
      ValueError: shapes differ or are not (n, H, W), or a value is not finite.
    """
    _check(estimated, reference)
    return _rmse(normalise(estimated) - normalise(reference))


def aligned_depth_rmse(estimated: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same after the best scale and shift of each estimated map (least squares): float64 (n,), 0 is best.

    The protocol by which MiDaS is evaluated (Ranftl et al. 2020): the reference is normalised to 0..1, the estimate is
    then fitted to it. A constant estimate becomes the mean of the reference, so that the error is the reference's
    standard deviation: no map does worse. As in MiDaS the scale may be negative: a map with near and far swapped has
    no error here, though a large `depth_rmse`.

    Args, raises: see `depth_rmse`.
    """
    _check(estimated, reference)
    estimated, reference = normalise(estimated), normalise(reference)
    centred, wanted = (part - part.mean(axis=(1, 2), keepdims=True) for part in (estimated, reference))
    power = np.sum(centred**2, axis=(1, 2), keepdims=True)
    scale = np.sum(centred * wanted, axis=(1, 2), keepdims=True) / np.where(power > 0, power, 1.0)
    return _rmse(scale * centred - wanted)


def depth_loss(estimates: jax.Array, inverse_depth: jax.Array) -> jax.Array:
    """Mean square error, a scalar, of (n, H, W, 1) against inverse depth normalised to 0..1, (n, H, W)."""
    return jnp.mean(jnp.square(estimates[..., 0] - inverse_depth))


def _rmse(difference: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(np.square(difference), axis=(1, 2)))


def _check(estimated: np.ndarray, reference: np.ndarray) -> None:
    if np.ndim(estimated) != 3 or np.shape(estimated) != np.shape(reference):
        raise ValueError(
            f"estimated is {np.shape(estimated)}, but reference {np.shape(reference)}: both must be (n, H, W)."
        )
    for name, maps in (("estimated", estimated), ("reference", reference)):
        if not np.isfinite(maps).all():
            raise ValueError(f"{name} has values that are not finite: a distance of 0 has no inverse.")


def of_condition(pictures: np.ndarray) -> np.ndarray:
    """Inverse depth, float64 (n, H, W), of condition pictures as depth estimators draw them: uint8 (n, H, W, 3), light
    where near."""
    return np.mean(pictures, axis=-1, dtype=np.float64)


_ERRORS = {"depth_rmse": depth_rmse, "aligned_depth_rmse": aligned_depth_rmse}
_PROTOCOL = {
    "depth_rmse": "RMSE of inverse depth, both maps stretched to 0..1; mean over pictures",
    "aligned_depth_rmse": "RMSE of inverse depth after the best scale and shift of each map; mean over pictures",
}
DEPTH = TaskMeasures(
    _ERRORS,
    against="depth",
    wanted=lambda distances: inverse(np.asarray(distances, np.float64)),
    falling=frozenset(_ERRORS),
    reading=Reading(
        channels=1,
        read=lambda logits: logits[..., 0],
        target=lambda distances: normalise(inverse(distances)),
        loss=depth_loss,
        mirror=lambda maps, width: maps[:, :, ::-1],
    ),
    network=NetworkMeasures(_ERRORS, truth="depth", of_truth=inverse, of_condition=of_condition, protocol=_PROTOCOL),
    protocol=_PROTOCOL,
)
