"""People from OpenPose's maps: peaks are key points, part affinity fields say which belong to one person.

Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", arXiv 1611.08050, with the thresholds
and rules of its usual Python port (pytorch-openpose), which the pose ControlNets' annotator uses.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from lisa_jax.evaluation.measures.heat_maps import NUM_POINTS

NUM_AFFINITIES = 38

# Limbs (from point, to point, first of its two affinity channels), in the order in which people are put together.
_LIMBS = (
    (1, 2, 12),
    (1, 5, 20),
    (2, 3, 14),
    (3, 4, 16),
    (5, 6, 22),
    (6, 7, 24),
    (1, 8, 0),
    (8, 9, 2),
    (9, 10, 4),
    (1, 11, 6),
    (11, 12, 8),
    (12, 13, 10),
    (1, 0, 28),
    (0, 14, 30),
    (14, 16, 34),
    (0, 15, 32),
    (15, 17, 36),
    (2, 16, 18),
    (5, 17, 26),
)
# The last two, shoulder to ear, only join what is there.
_STARTING_LIMBS = 17

_SMOOTHING = 3.0  # sigma in pixels
_MIN_CONFIDENCE = 0.1
_SAMPLES = 10
_MIN_AFFINITY = 0.05
_MIN_AGREEING = 0.8
_MIN_POINTS = 4
_MIN_MEAN_SCORE = 0.4


@dataclasses.dataclass
class _Person:
    """Peaks by point, and the sum of their confidences and of the limbs' scores."""

    peaks: dict[int, int]
    score: float
    count: int


def find_people(confidence: np.ndarray, affinity: np.ndarray) -> np.ndarray:
    """Group key points into people.

    Args:
      confidence: (18, H, W) confidence maps at the picture's size.
      affinity: (38, H, W) part affinity fields, x and y of each limb's direction.

    Returns:
      float32 (people, 18, 3): x, y in pixels, the centre of the top-left one at (0.5, 0.5), and confidence; zeros where
      a point was not found.
    """
    peaks = [_peaks(part) for part in confidence]
    people: list[_Person] = []
    for index, (start, end, channel) in enumerate(_LIMBS):
        field = affinity[channel : channel + 2]
        for first, second, score in _connections(peaks[start], peaks[end], field):
            people = _join(people, start, end, first, second, score, peaks, may_start=index < _STARTING_LIMBS)
    kept = [p for p in people if p.count >= _MIN_POINTS and p.score / p.count >= _MIN_MEAN_SCORE]
    poses = np.zeros((len(kept), NUM_POINTS, 3), np.float32)
    for pose, person in zip(poses, kept, strict=True):
        for point, peak in person.peaks.items():
            pose[point] = peaks[point][peak] + (0.5, 0.5, 0)
    return poses


def _peaks(confidence: np.ndarray) -> np.ndarray:
    """Places no lower than their four neighbours after smoothing: (peaks, 3), column, row, unsmoothed confidence."""
    smooth = ndimage.gaussian_filter(confidence, _SMOOTHING)
    highest = ndimage.maximum_filter(
        smooth, footprint=ndimage.generate_binary_structure(2, 1), mode="constant", cval=0.0
    )
    rows, columns = np.nonzero((smooth >= highest) & (smooth > _MIN_CONFIDENCE))
    return np.stack([columns, rows, confidence[rows, columns]], axis=-1).astype(np.float64)


def _connections(starts: np.ndarray, ends: np.ndarray, field: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of peaks that a limb joins, best first, each peak once: (start, end, score).

    A limb's score is the mean of the field along it, less where it is longer than half the picture's height.
    """
    height = field.shape[1]
    candidates = []
    for i, start in enumerate(starts):
        for j, end in enumerate(ends):
            step = end[:2] - start[:2]
            length = max(float(np.linalg.norm(step)), 1e-3)
            columns, rows = np.rint(np.linspace(start[:2], end[:2], _SAMPLES)).astype(int).T
            along = (step / length) @ field[:, rows, columns]
            score = along.mean() + min(0.5 * height / length - 1, 0)
            if (along > _MIN_AFFINITY).sum() > _MIN_AGREEING * _SAMPLES and score > 0:
                candidates.append((i, j, float(score)))
    chosen: list[tuple[int, int, float]] = []
    for i, j, score in sorted(candidates, key=lambda candidate: -candidate[2]):
        if all(i != other[0] and j != other[1] for other in chosen):
            chosen.append((i, j, score))
    return chosen


def _join(
    people: list[_Person],
    start: int,
    end: int,
    first: int,
    second: int,
    score: float,
    peaks: list[np.ndarray],
    may_start: bool,
) -> list[_Person]:
    """Give a limb to the person who has one of its ends, merge the two who have one each, or begin a person."""
    confidence = peaks[end][second, 2]
    owners = [p for p in people if p.peaks.get(start) == first or p.peaks.get(end) == second][:2]
    if len(owners) == 2 and not owners[0].peaks.keys() & owners[1].peaks.keys():
        one, other = owners
        merged = _Person(one.peaks | other.peaks, one.score + other.score + score, one.count + other.count)
        return [merged if person is one else person for person in people if person is not other]
    if len(owners) == 2 or (owners and owners[0].peaks.get(end) != second):
        person = owners[0]
        person.peaks[end] = second
        person.score += confidence + score
        person.count += 1
    elif not owners and may_start:
        people.append(_Person({start: first, end: second}, peaks[start][first, 2] + confidence + score, 2))
    return people
