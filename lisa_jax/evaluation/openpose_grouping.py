"""People from OpenPose's maps: peaks are key points, part affinity fields say which belong to one person.

Written from the paper alone: Cao et al., "Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", arXiv
1611.08050. Key points are peaks of the confidence maps (section 2.2), a limb's score is the line integral of its field
between two of them (equations 10 and 11), limbs are matched type by type, and those that share a key point make up a
person (section 2.4). What the paper leaves open, thresholds and the order of joining, is decided here, so people may
differ from those of other implementations where they are doubtful.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lisa_jax.evaluation.measures.heat_maps import NUM_POINTS

NUM_AFFINITIES = 38

# What the published networks give: a limb's two key points, and the first of its two affinity channels.
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
# Of confidence maps before their peaks are looked for, in pixels: those of a network are not smooth.
_SMOOTHING = 2.5
# A key point that is surer than not to be noise; maps are 1 where the network is certain and 0 elsewhere.
_LEAST_CONFIDENCE = 0.1
# Places at which the field is read between two key points.
_PLACES = 12
# Mean of the field along a limb: 1 where it points all the way to its end, 0 where there is none.
_LEAST_AFFINITY = 0.25
# A limb may be no longer than this share of the picture's longer side: longer ones join people.
_LONGEST = 0.6
# Fewer key points are no person.
_LEAST_POINTS = 4


class _Limb(NamedTuple):
    """Two key points, each as (point, peak), that belong together, and how surely: the mean of the field."""

    score: float
    start: tuple[int, int]
    end: tuple[int, int]


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
    limbs = [limb for kind in _LIMBS for limb in _matched(_candidates(kind, peaks, affinity))]
    people = [person for person in _joined(limbs) if len(person) >= _LEAST_POINTS]
    poses = np.zeros((len(people), NUM_POINTS, 3), np.float32)
    for pose, person in zip(poses, people, strict=True):
        for point, peak in person.items():
            pose[point] = peaks[point][peak]
    return poses


def _peaks(confidence: np.ndarray) -> np.ndarray:
    """Local maxima of a confidence map: (peaks, 3), x and y of the pixel's centre, and the map's value there."""
    smooth = ndimage.gaussian_filter(confidence, _SMOOTHING)
    is_peak = (smooth == ndimage.maximum_filter(smooth, size=3)) & (smooth > _LEAST_CONFIDENCE)
    rows, columns = np.nonzero(is_peak)
    return np.stack([columns + 0.5, rows + 0.5, confidence[rows, columns]], axis=-1).astype(np.float64)


def _candidates(kind: tuple[int, int, int], peaks: list[np.ndarray], affinity: np.ndarray) -> list[_Limb]:
    """All pairs of key points that a limb of this kind may join."""
    first, second, channel = kind
    field = affinity[channel : channel + 2]
    longest = _LONGEST * max(field.shape[1:])
    found = []
    for i, start in enumerate(peaks[first]):
        for j, end in enumerate(peaks[second]):
            length = float(np.hypot(*(end - start)[:2]))
            if 0 < length <= longest and (score := _line_integral(field, start[:2], end[:2])) >= _LEAST_AFFINITY:
                found.append(_Limb(score, (first, i), (second, j)))
    return found


def _line_integral(field: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Mean of the field's component along the way from one place to another, equation 10."""
    places = start + np.linspace(0, 1, _PLACES)[:, None] * (end - start)
    columns, rows = places.astype(int).T
    direction = (end - start) / np.linalg.norm(end - start)
    return float(np.mean(direction @ field[:, rows, columns]))


def _matched(candidates: Iterable[_Limb]) -> list[_Limb]:
    """The best limbs of one kind, of which no two share a key point."""
    taken: set[tuple[int, int]] = set()
    chosen = []
    for limb in sorted(candidates, reverse=True):
        if not taken & {limb.start, limb.end}:
            taken |= {limb.start, limb.end}
            chosen.append(limb)
    return chosen


def _joined(limbs: Iterable[_Limb]) -> list[dict[int, int]]:
    """People, as point -> peak: the surest limbs join first, and none that would give a person a point twice."""
    person_of: dict[tuple[int, int], dict[int, int]] = {}
    for limb in sorted(limbs, reverse=True):
        one = person_of.setdefault(limb.start, dict([limb.start]))
        other = person_of.setdefault(limb.end, dict([limb.end]))
        if one is not other and not one.keys() & other.keys():
            one |= other
            person_of |= dict.fromkeys(other.items(), one)
    return list({id(person): person for person in person_of.values()}.values())
