"""Measures of real-size tasks by networks from local files: the paper's protocol for depth, segmentation and pose.

What a network sees in a sample is held against the example's own truth or, where the data have none, against what the
same network sees in the real picture.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from lisa_jax.evaluation.local_networks import LocalNetwork
from lisa_jax.evaluation.measures.depth import aligned_depth_rmse, depth_rmse
from lisa_jax.evaluation.measures.pose import MIN_CONFIDENCE, pck
from lisa_jax.evaluation.measures.segmentation import confusion, mean_iou
from lisa_jax.evaluation.network_outputs import NUM_CLASSES

# Task, which is also the network's role in the manifest -> its measures. Errors, which fall as fidelity grows, are
# those that end in "rmse".
LOCAL_MEASURES = {
    "depth": ("depth_rmse", "aligned_depth_rmse"),
    "segmentation": ("miou",),
    "pose": ("pck",),
}
VOID_LABEL = 255


def local_fidelity(
    task: str,
    samples: np.ndarray,
    references: np.ndarray,
    network: LocalNetwork,
    truth: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, float]:
    """The task's LOCAL_MEASURES over all examples.

    Args:
      task: one of LOCAL_MEASURES.
      samples: uint8 (n, H, W, 3).
      references: the real pictures, uint8 (n, H, W, 3); not looked at where there is truth.
      network: the one of that role, see `local_networks.load_network`.
      truth: what the examples hold, by name: `depth` float (n, H, W), distance above 0; `keypoints` (n, 18, 3), or a
        list of (people, 18, 3); `labels` uint8 (n, H, W), ADE20K's 150 classes from 0 on, 255 where there is none.

    Raises:
      ValueError: a task without such measures, a network of another role, or sizes that do not agree.
    """
    if task not in LOCAL_MEASURES:
        raise ValueError(f"No local network measures the task {task!r}: there are {', '.join(LOCAL_MEASURES)}.")
    return compare(task, observe(task, samples, network), reference_of(task, references, network, truth))


def observe(task: str, images: np.ndarray, network: LocalNetwork) -> np.ndarray | list[np.ndarray]:
    """What the network sees: float32 (n, H, W) inverse depth, uint8 (n, H, W) labels, or n arrays (people, 18, 3)."""
    if network.file.role != task:
        raise ValueError(f"The task {task!r} needs a network of that role, but {network.file.role!r} was given.")
    seen = network(images)
    return seen if task == "pose" else np.stack(seen)


def reference_of(
    task: str, references: np.ndarray, network: LocalNetwork, truth: Mapping[str, Any] = MappingProxyType({})
) -> np.ndarray | list[np.ndarray]:
    """What samples are held against: the truth, or what the network sees in the real pictures; as `observe` gives it.

    For several sets of samples of the same examples it need be computed only once, for `compare`.
    """
    if task == "depth" and "depth" in truth:
        if not np.min(truth["depth"]) > 0:
            raise ValueError(f"truth holds a depth of {np.min(truth['depth'])}, but depths must be above 0.")
        return 1 / np.asarray(truth["depth"])
    if task == "segmentation" and "labels" in truth:
        return np.asarray(truth["labels"])
    if task == "pose" and "keypoints" in truth:
        return truth["keypoints"]
    seen = observe(task, references, network)
    if task == "pose":
        # A doubtful point in the real picture is no truth to find.
        return [np.where(people[..., 2:] >= MIN_CONFIDENCE, people, 0) for people in seen]
    return seen


def compare(
    task: str, observed: np.ndarray | Sequence[np.ndarray], reference: np.ndarray | Sequence[np.ndarray]
) -> dict[str, float]:
    """The task's LOCAL_MEASURES of what `observe` saw against what `reference_of` gave."""
    if task == "depth":
        return {
            "depth_rmse": float(np.mean(depth_rmse(observed, reference))),
            "aligned_depth_rmse": float(np.mean(aligned_depth_rmse(observed, reference))),
        }
    if task == "segmentation":
        return {"miou": miou_with_void(observed, reference)}
    return {"pck": pck(observed, reference)}


def miou_with_void(labels: np.ndarray, reference: np.ndarray) -> float:
    """Mean IoU over the classes of ADE20K in the whole set; pixels where the reference is 255 do not count.

    Args:
      labels: uint8 (n, H, W), 0 to 149.
      reference: likewise, or 255.

    Raises:
      ValueError: shapes differ, a label is out of range, or no pixel counts.
    """
    if labels.shape != reference.shape:
        raise ValueError(f"labels are {labels.shape}, but reference is {reference.shape}: sizes must agree.")
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for found, wanted in zip(labels, reference, strict=True):
        counted = wanted != VOID_LABEL
        counts += confusion(found[counted], wanted[counted], NUM_CLASSES)
    if not counts.sum():
        raise ValueError(f"every pixel of reference is {VOID_LABEL}: there is no class to find.")
    return mean_iou(counts)
