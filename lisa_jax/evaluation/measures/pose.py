"""Pose: percentage of correct key points (PCK). Are the limbs of generated people where the pose asked for them?

A pose is 18 key points in OpenPose's order, one row (x, y, confidence) each, in pixels. In a reference the third number
says whether the point is visible (1) or not (0); in a detection it is the estimator's confidence.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from lisa_jax.evaluation.measures.heat_maps import NUM_POINTS, heat_map_loss, mirror_points, read_points
from lisa_jax.evaluation.measures.task_measures import NetworkMeasures, Reading, TaskMeasures, as_given

# OpenPose's own threshold on its confidence maps.
MIN_CONFIDENCE = 0.1


def pck(
    detected: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    alpha: float = 0.2,
    min_confidence: float = MIN_CONFIDENCE,
) -> float:
    """Share of the references' visible key points that were found again, over all pictures together.

    Arguments and raises: see `found_points`.
    """
    right, total = found_points(detected, reference, alpha, min_confidence)
    return float(right.sum() / total.sum())


def pck_by_picture(
    detected: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    alpha: float = 0.2,
    min_confidence: float = MIN_CONFIDENCE,
) -> float:
    """The same share in each picture, and its mean over the pictures that have points to find: the paper's.

    A crowd counts as much as one person here, and each of its points less. Arguments and raises: see `found_points`.
    """
    right, total = found_points(detected, reference, alpha, min_confidence)
    return float(np.mean(right[total > 0] / total[total > 0]))


def found_points(
    detected: Sequence[np.ndarray], reference: Sequence[np.ndarray], alpha: float, min_confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """How many key points each picture should show, and how many of them were found again.

    In every picture each person of the reference is matched to at most one detected person by the intersection over
    union of their boxes, see `match_people`. A point is right when its match has it, with enough confidence, at most
    alpha x the diagonal of the reference person's box away. All points of a person without a match are wrong; points
    that the reference does not show do not count, and neither do further detected persons. A person with only one
    visible point has no size to measure distances by and is left out.

    Args:
      detected: for every picture (18, 3), or (people, 18, 3) with any number of people, 0 too.
      reference: likewise. An array (n, 18, 3) is n pictures of one person each.
      alpha: distance that is still right, in diagonals of the box of the person's visible points.
      min_confidence: a detected point with less was not detected: it is in no box, and wrong.

    Returns:
      Points found again, and visible points, int64 (n,) each; not all of the latter are 0.
    Raises:
      ValueError: another number of pictures, arrays that are no poses, or no reference with two visible points.
    """
    if len(detected) != len(reference):
        raise ValueError(f"detected is of {len(detected)} pictures, but reference of {len(reference)}: give pairs.")
    right, total = np.zeros((2, len(reference)), np.int64)
    for index, (found, wanted) in enumerate(zip(detected, reference, strict=True)):
        found, wanted = _people(found, "detected", index), _people(wanted, "reference", index)
        found_seen, wanted_seen = found[..., 2] >= min_confidence, wanted[..., 2] > 0
        sized = wanted_seen.sum(-1) >= 2
        wanted, wanted_seen = wanted[sized], wanted_seen[sized]
        total[index] = wanted_seen.sum()
        wanted_boxes = boxes(wanted, wanted_seen)
        for row, column in match_people(boxes(found, found_seen), wanted_boxes):
            reach = alpha * np.linalg.norm(wanted_boxes[column, 2:] - wanted_boxes[column, :2])
            distance = np.linalg.norm(found[row, :, :2] - wanted[column, :, :2], axis=-1)
            right[index] += np.sum((distance <= reach) & found_seen[row] & wanted_seen[column])
    if not total.any():
        raise ValueError("reference shows no person with two or more visible key points: there is nothing to find.")
    return right, total


def boxes(people: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Boxes (x0, y0, x1, y1) around the seen points: float64 (people, 4) from (people, 18, 2 or more) and bool
    (people, 18); NaN for who has none."""
    found = np.full((len(people), 4), np.nan)
    for box, points, visible in zip(found, people, seen, strict=True):
        if visible.any():
            box[:2], box[2:] = points[visible, :2].min(0), points[visible, :2].max(0)
    return found


def match_people(detected: np.ndarray, reference: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (detected, reference) of boxes (people, 4) that overlap, with the largest sum of intersections over unions.

    The best assignment (Hungarian method) rather than a greedy one: it does not depend on the order of people, and of
    two who stand close one cannot take the only match of the other. Boxes reach half a pixel beyond their points, so
    that a straight limb has an area too.
    """
    from scipy.optimize import linear_sum_assignment

    overlap = np.nan_to_num(_intersection_over_union(detected, reference))
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] > 0]


def doubtless(seen: Sequence[np.ndarray], min_confidence: float = MIN_CONFIDENCE) -> list[np.ndarray]:
    """Poses (people, 18, 3) with zeros for points of less confidence: in a real picture these are no truth to find."""
    return [np.where(people[..., 2:] >= min_confidence, people, 0) for people in seen]


def _intersection_over_union(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = first[:, None] + [-0.5, -0.5, 0.5, 0.5], second[None] + [-0.5, -0.5, 0.5, 0.5]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    common = np.prod(np.maximum(sides, 0), axis=-1)
    areas = [np.prod(part[..., 2:] - part[..., :2], axis=-1) for part in (first, second)]
    return common / (areas[0] + areas[1] - common)


def _people(pose: np.ndarray, name: str, index: int) -> np.ndarray:
    """One picture's people, float64 (people, 18, 3)."""
    people = np.asarray(pose, np.float64)
    people = people[None] if people.ndim == 2 else people
    if people.ndim != 3 or people.shape[1:] != (NUM_POINTS, 3):
        raise ValueError(
            f"{name}[{index}] is {np.shape(pose)}, but a picture's poses are (18, 3) or (people, 18, 3): x, y and "
            "visibility or confidence of OpenPose's key points."
        )
    return people


_WITHIN = "right within {:g} diagonals of the person's box; share of the visible key points of "
_ALPHAS = {"pck_0.1": 0.1, "pck": 0.2, "pck_0.05": 0.05}
_PAPERS = {"pck": pck, "pck_by_picture": pck_by_picture}
_PROTOCOL = {name: _WITHIN.format(alpha) + "all pictures together" for name, alpha in _ALPHAS.items()}
_PROTOCOL["pck_by_picture"] = _WITHIN.format(0.2) + "each picture, mean over the pictures that show a person"
# At 32 px 0.2 diagonals are 4 to 5 pixels: pictures of other people reach .8 of it.
POSE = TaskMeasures(
    {name: partial(pck, alpha=alpha) for name, alpha in _ALPHAS.items()} | {"pck_by_picture": pck_by_picture},
    against="keypoints",
    reading=Reading(NUM_POINTS, read_points, as_given, heat_map_loss, mirror_points, empty=1 / 16),
    network=NetworkMeasures(
        _PAPERS, truth="keypoints", of_truth=as_given, gather=as_given, of_seen=doubtless, protocol=_PROTOCOL
    ),
    protocol=_PROTOCOL,
)
