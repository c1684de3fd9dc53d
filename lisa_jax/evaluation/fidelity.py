"""How well samples follow their conditions, by task."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from lisa_jax.evaluation.clips import are_clips, frames_by_name, frames_of
from lisa_jax.evaluation.estimators import load_estimator
from lisa_jax.evaluation.measures.table import MEASURES, measures
from lisa_jax.evaluation.measures.task_measures import measure
from lisa_jax.evaluation.tasks import name_within, parts_of

# What measures need to know of the examples beside their pictures -> arrays by name.
Truth = Mapping[str, np.ndarray]
# Task -> what reads its condition back from uint8 (n, H, W, 3): pose (n, 18, 3), or n arrays (people, 18, 3), in pixels
# with confidence; depth (n, H, W), inverse depth. `evaluation.estimators` and `evaluation.local_networks` have such.
Estimators = Mapping[str, Callable[[np.ndarray], np.ndarray]]
_NOTHING = MappingProxyType({})


def fidelity(
    task: str,
    samples: np.ndarray,
    references: np.ndarray,
    conditions: Mapping[str, np.ndarray],
    truth: Truth = _NOTHING,
    estimators: Estimators = _NOTHING,
) -> dict[str, float]:
    """The task's `measures` over all examples.

    Args:
      task: one of MEASURES, or several joined by "+".
      samples: uint8 (n, H, W, 3); of clips (n, F, H, W, 3), whose frames are measured one by one, as pictures are.
      references: the real pictures, likewise.
      conditions: likewise, by the names of the task's parts. Only some measures look at them.
      truth: what some tasks compare with: `keypoints` float32 (n, 18, 3) for pose; `depth` float32 (n, H, W), distance
        above 0, for depth; of clips (n, F, ...).
      estimators: task -> what reads pose or depth off the samples; for a task that has none here, the network that was
        fitted to the data set `figures` at the samples' size.

    Raises:
      ValueError: an unknown task, a missing condition or truth, or no estimator for pictures of this size.
    """
    measures(task)  # refuses an unknown one
    if are_clips(samples):
        samples, references = frames_of(samples), frames_of(references)
        conditions, truth = frames_by_name(conditions), frames_by_name(truth)
    if any(MEASURES[part].against == "conditions" and part not in conditions for part in parts_of(task)):
        given = ", ".join(conditions) or "none"
        raise ValueError(f"Task '{task}' takes one condition a part, by name, but was given {given}.")

    def of_part(part: str) -> dict[str, float]:
        given = {"references": references, "conditions": conditions.get(part), **truth}
        return _fidelity_of_part(part, samples, given, estimators)

    return {name_within(task, part, name): value for part in parts_of(task) for name, value in of_part(part).items()}


def _fidelity_of_part(
    task: str, samples: np.ndarray, given: Mapping[str, Any], estimators: Estimators
) -> dict[str, float]:
    found = MEASURES[task]
    if found.against not in given:
        raise ValueError(
            f"The fidelity to '{task}' is measured against the examples' true '{found.against}', which truth does not "
            "hold: use a data set that has it, as the figures have."
        )
    wanted = found.wanted(given[found.against])
    if found.reading is None:
        return measure(found.measures, samples, wanted)
    estimator = estimators.get(task) or load_estimator(task, samples.shape[1])
    return measure(found.measures, np.asarray(estimator(samples)), wanted)
