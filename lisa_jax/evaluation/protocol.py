"""Everything that is measured of sets of samples for the same examples, with ceiling and floor beside them."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from lisa_jax.evaluation.clips import are_clips, frames_of
from lisa_jax.evaluation.estimators import estimators_of
from lisa_jax.evaluation.evaluation_set import EvaluationSet
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.evaluation.measures.table import MEASURES
from lisa_jax.evaluation.metric_networks import MetricNetworks, measure_all, protocol_of, truth_in_words, wanted_by
from lisa_jax.evaluation.motion import PROTOCOL as OF_MOTION
from lisa_jax.evaluation.motion import motion
from lisa_jax.evaluation.quality import MIN_PICTURES, quality
from lisa_jax.evaluation.real_size import PROTOCOL as AT_REAL_SIZE
from lisa_jax.evaluation.real_size import measures_at_real_size
from lisa_jax.evaluation.tasks import name_within, parts_of

_LOG = logging.getLogger("lisa_jax")

Samples = Mapping[str, np.ndarray]


def evaluate(
    task: str,
    samples: Samples | Callable[[], Samples],
    examples: EvaluationSet,
    *,
    networks: MetricNetworks | None = None,
    extractor: Extractor | None = None,
    truth_is_condition: bool = False,
    at_real_size: bool = False,
) -> dict[str, Any]:
    """Measure sets of samples.

    Args:
      task: see `tasks.task_of`.
      samples: name -> uint8 (n, H, W, 3), a sample for each example, of clips (n, F, H, W, 3); or what makes them when
        they can be measured.
      examples: what they were made for.
      networks: the user's own, see `evaluation.metric_networks`.
      extractor: of the features that distances to the real pictures are computed in; None: no distances.
      truth_is_condition: hold what the user's networks see in samples against the condition pictures.
      at_real_size: measure at the real pictures' own size, too, see `real_size`.

    Returns:
      A dictionary for JSON. "fidelity", also "fidelity_at_real_size" where asked for: set -> measure -> value, of the
      samples, of the "real images" (the ceiling) and of "other images", real ones against the condition of another (a
      floor); a measure without a bound is None; frames of clips are measured one by one, and "motion" has, likewise,
      measures of how they follow each other. "protocol": measure -> how it was computed; "truth": part of the task
      -> what samples were held against; "image_size": [H, W] or [F, H, W] at which; "estimators" and "networks": the
      package's own and the user's that looked at pictures. With an extractor "quality": set -> result of `quality`.
    Raises:
      ValueError: nothing measures this task for these examples, or not so.
    """
    measured = _has_measures(task, examples, networks, extractor)
    if not measured and not (networks and networks.fidelity):
        _LOG.warning("%s", _without_fidelity(task, networks, extractor))
    real = _real_pictures(examples) if at_real_size else None
    frames = examples.in_frames()
    conditions = _conditions_as_truth(task, frames, networks) if truth_is_condition else None
    wanted = None if networks is None else wanted_by(networks, frames.references, frames.truth, conditions)

    def values(images: np.ndarray) -> dict[str, float | None]:
        images = frames_of(images) if are_clips(images) else images
        found: dict[str, float] = {}
        if measured:
            found |= fidelity(task, images, frames.references, frames.conditions, frames.truth)
        if networks is not None:
            found |= measure_all(networks, images, frames.references, frames.captions, wanted)
        return _finite(found)

    bounds = {"real images": examples.references, "other images": np.roll(examples.references, 1, axis=0)}
    of_bounds = {name: values(images) for name, images in _measuring(bounds)}
    _check_count(examples, extractor)
    samples = samples() if callable(samples) else samples
    result: dict[str, Any] = {
        "task": task,
        "fidelity": {**{name: values(images) for name, images in _measuring(samples)}, **of_bounds},
        **_protocol(task, examples, networks, measured=measured, truth_is_condition=truth_is_condition),
        **_measured_by(task, examples, networks, measured=measured),
    }
    if real is not None:
        found = measures_at_real_size(task, {**samples, **bounds}, real, networks)
        result["fidelity_at_real_size"] = {name: _finite(values) for name, values in found.items()}
        result["protocol"]["fidelity_at_real_size"] = AT_REAL_SIZE
    if are_clips(examples.references):
        sets = {**samples, **bounds}
        result["motion"] = {name: motion(clips, examples.references) for name, clips in _measuring(sets)}
        result["protocol"] |= OF_MOTION
    if extractor is not None:
        result["quality"] = {
            name: quality(images, examples.references, extractor) for name, images in _measuring(samples)
        }
    return result


def _measuring(sets: Samples) -> Iterable[tuple[str, np.ndarray]]:
    """The sets one by one, with a bar."""
    return tqdm(sets.items(), "measuring", unit="set", dynamic_ncols=True, leave=False)


def _check_count(examples: EvaluationSet, extractor: Extractor | None) -> None:
    if extractor is not None and (count := len(examples.references)) < MIN_PICTURES:
        raise ValueError(f"Quality needs {MIN_PICTURES} pictures or more, but there are {count} examples.")


def _measured_by(
    task: str, examples: EvaluationSet, networks: MetricNetworks | None, *, measured: bool
) -> dict[str, Any]:
    """The networks that see what is measured, the package's own and the user's."""
    own = estimators_of(parts_of(task), examples.references.shape[-2]) if measured else {}
    estimators = {part: {"name": found.name, "sha256": found.sha256} for part, found in own.items()}
    return ({"estimators": estimators} if estimators else {}) | (
        {} if networks is None else {"networks": networks.identities}
    )


def _finite(found: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _conditions_as_truth(
    task: str, examples: EvaluationSet, networks: MetricNetworks | None
) -> Mapping[str, np.ndarray]:
    if networks is None or not networks.fidelity:
        raise ValueError(
            "Only what networks of your own see is held against condition pictures: give --metric_weights with one for "
            f"'{task}'."
        )
    return examples.conditions


def _real_pictures(examples: EvaluationSet) -> Callable[[int], np.ndarray]:
    if examples.real is None:
        raise ValueError(
            "The real pictures are known at the samples' size alone, as embedded data have them: give samples of a "
            "table's rows as --images, with the table as --source."
        )
    return examples.real


def _protocol(
    task: str,
    examples: EvaluationSet,
    networks: MetricNetworks | None,
    *,
    measured: bool,
    truth_is_condition: bool,
) -> dict[str, Any]:
    """How everything is measured: what the user's networks measure they measure in place of the package's own."""
    truth, protocol = {}, {}
    for part in parts_of(task) if measured else ():
        found = MEASURES[part]
        truth[part] = _AGAINST.get(found.against, f"the data set's {found.against}")
        protocol |= {name_within(task, part, name): words for name, words in found.protocol.items()}
    if networks is not None:
        truth |= truth_in_words(networks, examples.truth, of_condition=truth_is_condition)
        protocol |= protocol_of(networks)
    return {"protocol": protocol, "truth": truth, "image_size": list(examples.references.shape[1:-1])}


_AGAINST = {"references": "the real picture", "conditions": "the condition picture"}


def _without_fidelity(task: str, networks: MetricNetworks | None, extractor: Extractor | None) -> str:
    """What is measured of samples whose fidelity to the condition nothing measures."""
    clip, lpips = (False, False) if networks is None else (networks.clip, networks.lpips)
    rest = {"their quality": extractor, "CLIP score to the captions": clip, "LPIPS to the real pictures": lpips}
    names = " and ".join(name for name, found in rest.items() if found)
    return f"Nothing here reads '{task}' off pictures, so how well samples follow it is not measured: {names} will be."


def _has_measures(
    task: str, examples: EvaluationSet, networks: MetricNetworks | None, extractor: Extractor | None
) -> bool:
    """Whether `fidelity` can measure these pictures; an error where nothing measures anything of them."""
    general = [name for name, found in MEASURES.items() if found.any_pictures]
    measured = all(part in (MEASURES if examples.embedded else general) for part in parts_of(task))
    offered = () if networks is None else (networks.fidelity, networks.clip, networks.lpips)
    if not measured and not any(offered) and extractor is None:
        raise ValueError(
            f"Nothing measures '{task}' on these pictures: embedded data sets have {', '.join(MEASURES)}, others "
            f"{', '.join(general)}; for depth, pose and segmentation of photographs give --metric_weights with "
            "networks for them, and for quality alone --quality."
        )
    against_conditions = measured and any(MEASURES[part].against == "conditions" for part in parts_of(task))
    if against_conditions and not examples.conditions:
        raise ValueError(f"The fidelity to '{task}' is measured against conditions: give --condition_column.")
    return measured
