"""Segmentation: mean intersection over union, of the classes that can be read off a flat drawing or of ADE20K's."""

import numpy as np

from lisa_jax.evaluation.measures.edges import dark_lines
from lisa_jax.evaluation.measures.task_measures import NetworkMeasures, TaskMeasures

VISIBLE_CLASSES = ("paper", "colour", "line")
# White of the paper and of white fills; OpenMoji's lightest grey is 208.
_LIGHT_FROM = 232
NUM_CLASSES = 150  # of ADE20K
VOID_LABEL = 255


def confusion(prediction: np.ndarray, reference: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of pixels by class: int64 (num_classes, num_classes), rows reference, columns prediction.

    Args:
      prediction: integer labels of any shape, in 0..num_classes-1.
      reference: labels of the same shape.

    Raises:
      ValueError: shapes differ, or a label is out of range.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction is {prediction.shape}, but reference is {reference.shape}: sizes must agree.")
    for name, labels in (("prediction", prediction), ("reference", reference)):
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(f"{name} has labels from {labels.min()} to {labels.max()}, but num_classes={num_classes}.")
    pairs = reference.astype(np.int64).ravel() * num_classes + prediction.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(counts: np.ndarray) -> float:
    """Mean over classes of intersection / union, from the confusion counts of a whole data set.

    As in semantic segmentation benchmarks, a class that neither map has is left out. NaN where no pixel was counted.
    """
    hits = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - hits
    present = union > 0
    return float(np.mean(hits[present] / union[present])) if present.any() else float("nan")


def visible_classes(images: np.ndarray) -> np.ndarray:
    """Index into VISIBLE_CLASSES of every pixel of drawings on white: uint8 (n, H, W) from uint8 (n, H, W, 3).

    "line" is what `dark_lines` finds, "paper" is near white (background and white fills look alike), "colour" the rest.
    """
    light = images.min(axis=-1) >= _LIGHT_FROM
    labels = np.where(light, VISIBLE_CLASSES.index("paper"), VISIBLE_CLASSES.index("colour")).astype(np.uint8)
    labels[dark_lines(images)] = VISIBLE_CLASSES.index("line")
    return labels


def visible_miou(images: np.ndarray, references: np.ndarray) -> float:
    """Mean IoU of the visible classes of images against those of the real pictures; both uint8 (n, H, W, 3)."""
    return mean_iou(confusion(visible_classes(images), visible_classes(references), len(VISIBLE_CLASSES)))


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


SEGMENTATION = TaskMeasures(
    {"miou": visible_miou},
    against="references",
    network=NetworkMeasures(
        {"miou": miou_with_void},
        truth="labels",
        protocol={"miou": "the 150 classes of ADE20K, over the pixels of all pictures, without classes that none has"},
    ),
    protocol={"miou": f"the classes {', '.join(VISIBLE_CLASSES)} of flat drawings, over the pixels of all pictures"},
)
