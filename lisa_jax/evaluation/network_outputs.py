"""From what a network puts out to what measures compare: depth maps, label maps, key points.

Every function takes the outputs for one picture (each (1, ...), in the input's layout), the input they are of, and the
picture's height and width. Maps are resized as the networks' own code does: half-pixel centres, no anti-aliasing.
"""

from collections.abc import Callable

import cv2
import numpy as np

from lisa_jax.evaluation.measures.heat_maps import NUM_POINTS
from lisa_jax.evaluation.measures.segmentation import NUM_CLASSES
from lisa_jax.evaluation.onnx_network import NetworkInput
from lisa_jax.evaluation.openpose_grouping import NUM_AFFINITIES, find_people

_COCO_POINTS = 17
# For each point of OpenPose the one of COCO, which has no neck: nose, then right before left.
_FROM_COCO = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
_NECK, _SHOULDERS = 1, (2, 5)

Size = tuple[int, int]
Decode = Callable[[list[np.ndarray], NetworkInput, Size], np.ndarray]


def inverse_depth(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """MiDaS, DPT: one map, (1, h, w) or with an axis of 1 for the channel, large where near; float32 (H, W)."""
    del takes
    return _resize(_only_map(outputs), size, cv2.INTER_CUBIC)


def depth(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """Metric depth, a map as above but large where far and above 0 everywhere: its inverse, float32 (H, W)."""
    del takes
    distances = _only_map(outputs)
    if not distances.min() > 0:
        raise ValueError(f"the smallest depth is {distances.min()}, but depths must be above 0 to have an inverse.")
    return _resize(1 / distances, size, cv2.INTER_CUBIC)


def class_logits(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """One score for each of the 150 classes, (1, 150, h, w) or (1, h, w, 150): the best class, uint8 (H, W)."""
    return _best_class(_maps(_single(outputs), takes, NUM_CLASSES), size)


def class_labels(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """A map of labels from 0 to 149, (1, h, w) or with an axis of 1: uint8 (H, W), nearest pixel."""
    del takes
    labels = _only_map(outputs)
    if (labels != np.round(labels)).any() or not 0 <= labels.min() <= labels.max() < NUM_CLASSES:
        raise ValueError(
            f"labels are {labels.dtype} from {labels.min()} to {labels.max()}, but must be whole numbers from 0 to "
            f"{NUM_CLASSES - 1}."
        )
    return cv2.resize(labels.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def mask2former(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """Mask2Former, MaskFormer: class logits (1, queries, 151), the last one "no object", and mask logits
    (1, queries, h, w); uint8 (H, W).

    Cheng et al., arXiv 2112.01527: masks at the input's size, weighted by their classes' probabilities.
    """
    ranks = {output.ndim: output[0].astype(np.float32) for output in outputs}
    if len(outputs) != 2 or ranks.keys() != {3, 4} or ranks[3].shape != (len(ranks[4]), NUM_CLASSES + 1):
        raise ValueError(
            f"outputs are {_shapes(outputs)}, but must be class logits (1, queries, {NUM_CLASSES + 1}) and mask logits "
            "(1, queries, h, w): name them in output_names."
        )
    classes, masks = ranks[3], ranks[4]
    probabilities = np.exp(classes - classes.max(-1, keepdims=True))
    probabilities = (probabilities / probabilities.sum(-1, keepdims=True))[:, :-1]
    masks = np.stack([_resize(mask, takes.size, cv2.INTER_LINEAR) for mask in masks])
    masks = 0.5 * (1 + np.tanh(0.5 * masks))  # the logistic function, without overflow
    return _best_class(np.einsum("qc,qhw->chw", probabilities, masks, optimize=True), size)


def openpose(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """OpenPose (COCO model): 19 confidence maps (18 points, background) and 38 part affinity maps, as two outputs in
    any order or as one of 57, confidence first; any number of people, float32 (people, 18, 3)."""
    points, affinities = NUM_POINTS + 1, NUM_AFFINITIES
    maps = outputs
    if len(outputs) == 1 and outputs[0].ndim == 4:
        maps = np.split(_maps(outputs[0], takes, points + affinities), [points])
    elif len(outputs) == 2 and all(output.ndim == 4 for output in outputs):
        axis = 1 if takes.layout == "nchw" else 3
        first, second = sorted(outputs, key=lambda output: output.shape[axis])
        maps = [_maps(first, takes, points), _maps(second, takes, affinities)]
    else:
        raise ValueError(f"outputs are {_shapes(outputs)}, but must be {points} and {affinities} maps.")
    confidence, affinity = (np.stack([_resize(m, size, cv2.INTER_CUBIC) for m in part]) for part in maps)
    return find_people(confidence[:NUM_POINTS], affinity)


def heatmaps(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """One confidence map for each of OpenPose's 18 points, (1, 18, h, w) or (1, h, w, 18): one person at the maps'
    highest places, float32 (1, 18, 3)."""
    maps = _maps(_single(outputs), takes, NUM_POINTS)
    height, width = maps.shape[1:]
    rows, columns = np.divmod(maps.reshape(NUM_POINTS, -1).argmax(-1), width)
    x, y = (columns + 0.5) * size[1] / width, (rows + 0.5) * size[0] / height
    return np.stack([x, y, maps.max((1, 2))], axis=-1)[None].astype(np.float32)


def keypoints(outputs: list[np.ndarray], takes: NetworkInput, size: Size) -> np.ndarray:
    """Key points themselves, (1, people, points, 3) or (1, points, 3) for one person: x and y in pixels of the
    network's input, and confidence; float32 (people, 18, 3).

    18 points are OpenPose's, 17 are COCO's: they are put into OpenPose's order, with the neck halfway between the
    shoulders and the lower of their confidences.
    """
    people = _single(outputs).astype(np.float32)[0]
    people = people[None] if people.ndim == 2 else people
    if people.ndim != 3 or people.shape[1] not in (NUM_POINTS, _COCO_POINTS) or people.shape[2] != 3:
        raise ValueError(f"output is {_shapes(outputs)}, but must be (1, people, {NUM_POINTS} or {_COCO_POINTS}, 3).")
    if people.shape[1] == _COCO_POINTS:
        people = people[:, [0 if point is None else point for point in _FROM_COCO]]
        shoulders = people[:, _SHOULDERS]
        people[:, _NECK, :2], people[:, _NECK, 2] = shoulders[..., :2].mean(1), shoulders[..., 2].min(1)
    scale = np.float32([size[1] / takes.size[1], size[0] / takes.size[0], 1])
    return people * scale


# Role -> what a manifest may call its output -> how it is read.
OUTPUTS: dict[str, dict[str, Decode]] = {
    "depth": {"inverse_depth": inverse_depth, "depth": depth},
    "segmentation": {"logits": class_logits, "labels": class_labels, "mask2former": mask2former},
    "pose": {"openpose": openpose, "heatmaps": heatmaps, "keypoints": keypoints},
}


def _single(outputs: list[np.ndarray]) -> np.ndarray:
    if len(outputs) != 1:
        raise ValueError(f"there are {len(outputs)} outputs, {_shapes(outputs)}: name the one to use in output_names.")
    return outputs[0]


def _only_map(outputs: list[np.ndarray]) -> np.ndarray:
    output = _single(outputs)
    if output.ndim == 3 and len(output) == 1:
        return output[0]
    if output.ndim == 4 and len(output) == 1 and 1 in (output.shape[1], output.shape[3]):
        return output[0, 0] if output.shape[1] == 1 else output[0, :, :, 0]
    raise ValueError(f"output is {_shapes(outputs)}, but must be one map: (1, h, w), (1, 1, h, w) or (1, h, w, 1).")


def _maps(output: np.ndarray, takes: NetworkInput, count: int) -> np.ndarray:
    """`count` maps (count, h, w) of an output in the input's layout."""
    axis = 1 if takes.layout == "nchw" else 3
    if output.ndim != 4 or output.shape[0] != 1 or output.shape[axis] != count:
        raise ValueError(f"output is {output.shape}, but must be {count} maps as {takes.layout}.")
    return np.moveaxis(output[0], axis - 1, 0)


def _best_class(scores: np.ndarray, size: Size) -> np.ndarray:
    """Class of the highest score after resizing: uint8 (H, W) from (classes, h, w)."""
    best, labels = np.full(size, -np.inf, np.float32), np.zeros(size, np.uint8)
    for label, score in enumerate(scores):
        score = _resize(score, size, cv2.INTER_LINEAR)
        better = score > best
        labels[better], best[better] = label, score[better]
    return labels


def _resize(values: np.ndarray, size: Size, interpolation: int) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(values, np.float32), size[::-1], interpolation=interpolation)


def _shapes(outputs: list[np.ndarray]) -> str:
    return " and ".join(str(output.shape) for output in outputs)
