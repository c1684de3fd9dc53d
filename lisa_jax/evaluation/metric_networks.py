"""All that a folder of the user's own networks can measure for a task, loaded once for several sets of samples.

networks = load_metric_networks(folder, "depth")
wanted = wanted_by(networks, references, truth)
measured = measure_all(networks, samples, references, captions, wanted)
# {"depth_rmse": ..., "aligned_depth_rmse": ..., "clip_score": ..., "lpips": ...}
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lisa_jax.evaluation.clip_score import PROTOCOL as CLIP_PROTOCOL
from lisa_jax.evaluation.clip_score import Clip, clip_scores, load_clip
from lisa_jax.evaluation.local_networks import LocalNetwork, ManifestError, load_network, local_file, read_manifest
from lisa_jax.evaluation.lpips import PROTOCOL as LPIPS_PROTOCOL
from lisa_jax.evaluation.lpips import Lpips, load_lpips, lpips
from lisa_jax.evaluation.measures.table import MEASURES
from lisa_jax.evaluation.measures.task_measures import NetworkMeasures, measure
from lisa_jax.evaluation.tasks import name_within, parts_of


class MetricNetworks(NamedTuple):
    """Networks that the folder offers for a task, and what they are."""

    task: str
    fidelity: dict[str, LocalNetwork]
    """Part of the task (all of it, or "pose" of "pose+segmentation") -> its network."""
    clip: Clip | None
    lpips: Lpips | None
    identities: dict[str, dict[str, str]]
    """Role -> file and sha256: belongs into every result."""


def load_metric_networks(folder: str | Path, task: str) -> MetricNetworks:
    """Load the networks of the task's parts, CLIP, and AlexNet with the heads of LPIPS: those that the manifest names.

    Args:
      folder: holds `manifest.json`, see `local_networks`.
      task: such as "depth", or "pose+segmentation".

    Raises:
      ManifestError: see `local_networks.local_file`; or one of `alexnet` and `lpips` without the other.
      ValueError, ImportError: a file that cannot be used, see the loaders.
    """
    offered = read_manifest(folder)
    if ("alexnet" in offered) != ("lpips" in offered):
        raise ManifestError(f"{folder}: LPIPS needs both 'alexnet' and 'lpips' in the manifest: add the other one.")
    parts = [part for part in parts_of(task) if part in offered and _by_network(part) is not None]
    fidelity = {part: load_network(folder, part) for part in parts}
    files = {role: local_file(folder, role) for role in ("clip", "alexnet", "lpips") if role in offered}
    return MetricNetworks(
        task,
        fidelity,
        load_clip(files["clip"].path) if "clip" in files else None,
        load_lpips(files["alexnet"].path, files["lpips"].path) if "lpips" in files else None,
        {role: file.identity for role, file in ({p: n.file for p, n in fidelity.items()} | files).items()},
    )


def wanted_by(
    networks: MetricNetworks,
    references: np.ndarray,
    truth: Mapping[str, Any] = MappingProxyType({}),
    conditions: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """What samples are held against, by part of the task: truth, or what the networks see in the real pictures.

    Args:
      references: the real pictures, uint8 (n, H, W, 3); not looked at where there is truth.
      conditions: part of the task -> condition pictures, likewise, to hold samples against in place of both; None: not.
      truth: what the examples hold, by name: `depth` float (n, H, W), distance above 0; `keypoints` (n, 18, 3), or a
        list of (people, 18, 3); `labels` uint8 (n, H, W), ADE20K's 150 classes from 0 on, 255 where there is none.

    Raises:
      ValueError: a depth that is not above 0, or a condition that is missing or no such truth.
    """
    if conditions is not None:
        return {part: _of_condition(part, conditions) for part in networks.fidelity}
    return {
        part: _by_network(part).reference(references, network, truth) for part, network in networks.fidelity.items()
    }


def _of_condition(part: str, conditions: Mapping[str, np.ndarray]) -> Any:
    of_condition = _by_network(part).of_condition
    if of_condition is None:
        able = (name for name, found in MEASURES.items() if found.network and found.network.of_condition)
        raise ValueError(
            f"What a network sees of '{part}' cannot be held against condition pictures, only of {', '.join(able)}."
        )
    if part not in conditions:
        raise ValueError(f"Samples are held against the condition pictures of '{part}': give --condition_column.")
    return of_condition(conditions[part])


def truth_in_words(networks: MetricNetworks, truth: Mapping[str, Any], *, of_condition: bool) -> dict[str, str]:
    """Part of the task -> what `wanted_by` holds samples against."""

    def words(part: str) -> str:
        if of_condition:
            return "the condition picture"
        field = _by_network(part).truth
        return f"the data set's {field}" if field in truth else "what the same network sees in the real picture"

    return {part: words(part) for part in networks.fidelity}


def protocol_of(networks: MetricNetworks) -> dict[str, str]:
    """Measure -> how `measure_all` computes it."""
    found = {
        name_within(networks.task, part, name): words
        for part in networks.fidelity
        for name, words in _by_network(part).protocol.items()
        if name in _by_network(part).measures
    }
    found |= {} if networks.clip is None else {"clip_score": CLIP_PROTOCOL}
    return found | ({} if networks.lpips is None else {"lpips": LPIPS_PROTOCOL})


def measure_all(
    networks: MetricNetworks,
    samples: np.ndarray,
    references: np.ndarray,
    captions: Sequence[str],
    wanted: Mapping[str, Any],
) -> dict[str, float]:
    """Every measure that the networks give, over all examples.

    Args:
      samples: uint8 (n, H, W, 3).
      references: the real pictures, likewise.
      captions: n strings.
      wanted: from `wanted_by`.

    Returns:
      The measures of the task's parts, "pose/pck" where the task has several; `clip_score` and `lpips`, means over
      examples.
    """
    found = {}
    for part, network in networks.fidelity.items():
        own = _by_network(part)
        values = measure(own.measures, own.observe(samples, network), wanted[part])
        found |= {name_within(networks.task, part, name): value for name, value in values.items()}
    if networks.clip is not None:
        found["clip_score"] = float(np.mean(clip_scores(networks.clip, samples, captions)))
    if networks.lpips is not None:
        found["lpips"] = float(np.mean(lpips(networks.lpips, samples, references)))
    return found


def _by_network(task: str) -> NetworkMeasures | None:
    return MEASURES[task].network if task in MEASURES else None
