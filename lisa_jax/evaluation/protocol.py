"""Everything that is measured of sets of samples for the same examples, with ceiling and floor beside them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lisa_jax.evaluation.estimators import load_estimator
from lisa_jax.evaluation.examples import Examples
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.evaluation.fidelity import ESTIMATED, MEASURES, fidelity
from lisa_jax.evaluation.metric_networks import MetricNetworks, measure, wanted_by
from lisa_jax.evaluation.quality import quality

# Of these tasks `fidelity` measures any picture; the others' thresholds and networks are those of the embedded data.
GENERAL = ("lowres",)
# Names that data sets of these conditions usually have.
ALIASES = {"seg": "segmentation", "sr": "lowres"}


def task_of(condition: Any) -> str:
    """The task that a condition (a name, "module:function", or several names) is measured by."""
    names = [condition] if isinstance(condition, str) else list(condition)
    short = [name.rpartition(":")[2] for name in names]
    return "+".join(ALIASES.get(name, name) for name in short)


def evaluate(
    task: str,
    samples: Mapping[str, np.ndarray],
    examples: Examples,
    *,
    networks: MetricNetworks | None = None,
    extractor: Extractor | None = None,
) -> dict[str, Any]:
    """Measure sets of samples.

    Args:
      task: see `task_of`.
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
    general = all(part in GENERAL for part in task.split("+"))
    measured = (examples.embedded or general) and all(part in MEASURES for part in task.split("+"))
    if not measured and networks is None:
        raise ValueError(
            f"Nothing measures '{task}' on these pictures: embedded data sets have {', '.join(MEASURES)}, others "
            f"{', '.join(GENERAL)}; for depth, pose and segmentation of photographs give --metric_weights."
        )
    if measured and examples.conditions is None and task != "lowres":
        raise ValueError(f"The fidelity to '{task}' is measured against conditions: give --condition_column.")
    wanted = None if networks is None else wanted_by(networks, examples.references, examples.truth)

    def values(images: np.ndarray) -> dict[str, float | None]:
        found: dict[str, float] = {}
        if measured:
            found |= fidelity(task, images, examples.references, examples.conditions, examples.truth)
        if networks is not None:
            found |= measure(networks, images, examples.references, examples.captions, wanted)
        return {name: value if math.isfinite(value) else None for name, value in found.items()}

    bounds = {"real images": examples.references, "other images": np.roll(examples.references, 1, axis=0)}
    result: dict[str, Any] = {
        "task": task,
        "fidelity": {name: values(images) for name, images in {**samples, **bounds}.items()},
    }
    if measured and (estimated := [part for part in task.split("+") if part in ESTIMATED]):
        found = {part: load_estimator(part, examples.references.shape[1]) for part in estimated}
        result["estimators"] = {part: {"name": own.name, "sha256": own.sha256} for part, own in found.items()}
    if networks is not None:
        result["networks"] = networks.identities
    if extractor is not None:
        result["quality"] = {name: quality(images, examples.references, extractor) for name, images in samples.items()}
    return result
