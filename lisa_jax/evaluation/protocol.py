"""Everything that is measured of sets of samples for the same examples, with ceiling and floor beside them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lisa_jax.evaluation.estimators import estimators_of
from lisa_jax.evaluation.evaluation_set import EvaluationSet
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.evaluation.measures.table import MEASURES
from lisa_jax.evaluation.metric_networks import MetricNetworks, measure_all, wanted_by
from lisa_jax.evaluation.quality import quality
from lisa_jax.evaluation.tasks import parts_of


def evaluate(
    task: str,
    samples: Mapping[str, np.ndarray],
    examples: EvaluationSet,
    *,
    networks: MetricNetworks | None = None,
    extractor: Extractor | None = None,
) -> dict[str, Any]:
    """Measure sets of samples.

    Args:
      task: see `tasks.task_of`.
      samples: name -> uint8 (n, H, W, 3), a sample for each example.
      examples: what they were made for.
      networks: the user's own, see `evaluation.metric_networks`.
      extractor: of the features that distances to the real pictures are computed in; None: no distances.

    Returns:
      A dictionary for JSON. "fidelity": set -> measure -> value, of the samples, of the "real images" (the ceiling) and
      of "other images", real ones against the condition of another (a floor); a measure without a bound, as the PSNR of
      a picture against itself, is None. Where the package's own networks read pose or depth, "estimators": task -> name
      and sha256. With an extractor "quality": set -> result of `quality`. With networks "networks": role -> file and
      sha256.
    Raises:
      ValueError: nothing measures this task for these examples.
    """
    measured = _has_measures(task, examples, networks)
    wanted = None if networks is None else wanted_by(networks, examples.references, examples.truth)

    def values(images: np.ndarray) -> dict[str, float | None]:
        found: dict[str, float] = {}
        if measured:
            found |= fidelity(task, images, examples.references, examples.conditions, examples.truth)
        if networks is not None:
            found |= measure_all(networks, images, examples.references, examples.captions, wanted)
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    bounds = {"real images": examples.references, "other images": np.roll(examples.references, 1, axis=0)}
    result: dict[str, Any] = {
        "task": task,
        "fidelity": {name: values(images) for name, images in {**samples, **bounds}.items()},
    }
    if measured and (read_by := estimators_of(parts_of(task), examples.references.shape[1])):
        result["estimators"] = {part: {"name": own.name, "sha256": own.sha256} for part, own in read_by.items()}
    if networks is not None:
        result["networks"] = networks.identities
    if extractor is not None:
        result["quality"] = {name: quality(images, examples.references, extractor) for name, images in samples.items()}
    return result


def _has_measures(task: str, examples: EvaluationSet, networks: MetricNetworks | None) -> bool:
    """Whether `fidelity` can measure these pictures; an error where nothing can."""
    general = [name for name, found in MEASURES.items() if found.any_pictures]
    measured = all(part in (MEASURES if examples.embedded else general) for part in parts_of(task))
    if not measured and networks is None:
        raise ValueError(
            f"Nothing measures '{task}' on these pictures: embedded data sets have {', '.join(MEASURES)}, others "
            f"{', '.join(general)}; for depth, pose and segmentation of photographs give --metric_weights."
        )
    against_conditions = measured and any(MEASURES[part].against == "conditions" for part in parts_of(task))
    if against_conditions and not examples.conditions:
        raise ValueError(f"The fidelity to '{task}' is measured against conditions: give --condition_column.")
    return measured
