"""How good samples look as a set: distances to reference pictures in a network's features, with what bounds them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lisa_jax.evaluation.distances import MIN_EXAMPLES, distances, split_halves
from lisa_jax.evaluation.extractors import Extractor

MIN_PICTURES = 2 * MIN_EXAMPLES
_REPEATS = 20
_INTERVAL = 1.96  # standard deviations, for 95 %
_SHARES = ("precision", "recall")


def quality(samples: np.ndarray, references: np.ndarray, extractor: Extractor, *, seed: int = 0) -> dict[str, Any]:
    """Distances of samples to reference pictures.

    Intervals: each measure's value, plus and minus 1.96 standard deviations of its values on random halves of the
    pictures. Half of a set drawn without replacement scatters about as much as whole sets do (the delete-half
    jackknife). The bootstrap is not used: a set with repeated pictures is a worse set, and its Fréchet distance far
    larger. An interval says how much another draw of as many pictures would change the value. It does not cover the
    bias of the Fréchet distance, which grows as n gets smaller.

    Floor: under "halves", the samples and real pictures in the same place: two random halves of the references, against
    each other, and a random half of the samples against the second one. Only these two are comparable; a distance of 0
    is not within reach. Precision and recall of real pictures are the ceiling in the same way.

    Args:
      samples: uint8 (n, H, W, 3), or of clips (n, F, H, W, 3).
      references: real ones, likewise.
      extractor: the network.
      seed: of the halves.

    Returns:
      A dictionary for JSON. By measure, which is `extractor.distance` ("fid", `fd_<name>`, ...), `kid_<name>`,
      `precision_<name>` and `recall_<name>`: the value. And "intervals": {measure: [low, high]}; "halves": {"examples":
      pictures in a half, "samples": {measure: mean over the halves}, "real": likewise, "real_spread": standard
      deviations of the latter}; "extractor": {"name", "sha256"}; "examples": n; "references": m; "image_size": [H, W]
      or [F, H, W].
    Raises:
      ValueError: sizes that differ, fewer than MIN_PICTURES pictures, or what the network does not take.
    """
    if samples.shape[1:] != references.shape[1:]:
        raise ValueError(f"samples are {samples.shape}, but references {references.shape}: sizes must agree.")
    if min(len(samples), len(references)) < MIN_PICTURES:
        raise ValueError(
            f"Quality needs {MIN_PICTURES} pictures or more, but there are {len(samples)} samples and "
            f"{len(references)} references."
        )
    names = {"fd": extractor.distance} | {key: f"{key}_{extractor.name}" for key in ("kid", *_SHARES)}
    features = [extractor.features(pictures) for pictures in (samples, references)]
    values = distances(*features)
    halves = split_halves(*features, _REPEATS, seed)

    def over_halves(statistic: Any, kind: str) -> dict[str, float]:
        return {name: float(statistic([half[kind][key] for half in halves])) for key, name in names.items()}

    def spread(numbers: list[float]) -> float:
        return np.std(numbers, ddof=1)

    spreads = over_halves(spread, "samples")
    return {
        **{name: values[key] for key, name in names.items()},
        "intervals": {name: _interval(key, values[key], spreads[name]) for key, name in names.items()},
        "halves": {
            "examples": min(len(samples), len(references)) // 2,
            "samples": over_halves(np.mean, "samples"),
            "real": over_halves(np.mean, "real"),
            "real_spread": over_halves(spread, "real"),
        },
        "extractor": extractor.identity,
        "examples": len(samples),
        "references": len(references),
        "image_size": list(samples.shape[1:-1]),
    }


def require_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Refuse to compare results of `quality` that no comparison holds for.

    Raises:
      ValueError: results of different extractors, picture sizes or numbers of pictures, by field.
    """
    for field in ("extractor", "image_size", "examples", "references"):
        if first[field] != second[field]:
            raise ValueError(
                f"Distances with '{field}' {first[field]} and {second[field]} cannot be compared: compute both alike."
            )


def _interval(measure: str, value: float, spread: float) -> list[float]:
    """Low and high end; a share stays within 0..1, and a Fréchet distance above 0."""
    low, high = value - _INTERVAL * spread, value + _INTERVAL * spread
    if measure in _SHARES:
        return [max(low, 0.0), min(high, 1.0)]
    return [max(low, 0.0) if measure == "fd" else low, high]
