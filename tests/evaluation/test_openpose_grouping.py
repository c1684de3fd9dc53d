import numpy as np
import pytest

from lisa_jax.evaluation.openpose_grouping import find_people

HEIGHT, WIDTH = 140, 240
# A standing figure, OpenPose's order: nose, neck, right arm, left arm, right leg, left leg, eyes, ears.
FIGURE = np.array(
    [
        *[(28, 20), (28, 34), (14, 34), (10, 50), (8, 66), (42, 34), (46, 50), (48, 66)],
        *[(20, 74), (20, 98), (20, 122), (36, 74), (36, 98), (36, 122)],
        *[(20, 10), (36, 10), (10, 18), (46, 18)],
    ],
    float,
)
# From, to and affinity channel as in the published table, whose points count from 1 and channels from 19.
TABLE = (
    "2 3 31,2 6 39,3 4 33,4 5 35,6 7 41,7 8 43,2 9 19,9 10 21,10 11 23,2 12 25,12 13 27,13 14 29,2 1 47,1 15 49,"
    "15 17 53,1 16 51,16 18 55,3 17 37,6 18 45"
)


def maps_of(people):
    """Confidence maps and affinity fields as OpenPose is trained to give them; NaN for hidden points."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    confidence, affinity = np.zeros((18, HEIGHT, WIDTH)), np.zeros((38, HEIGHT, WIDTH))
    for person in people:
        for part, (x, y) in zip(confidence, person, strict=True):
            if np.isfinite(x):
                np.maximum(part, np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2)), out=part)
        for start, end, channel in (map(int, row.split()) for row in TABLE.split(",")):
            first, second = person[start - 1], person[end - 1]
            if np.isfinite([first, second]).all():
                step = second - first
                length = np.linalg.norm(step)
                x, y = columns - first[0], rows - first[1]
                along, across = (x * step[0] + y * step[1]) / length, np.abs(x * step[1] - y * step[0]) / length
                on_limb = (along >= -1) & (along <= length + 1) & (across <= 1.5)
                affinity[channel - 19][on_limb], affinity[channel - 18][on_limb] = step / length
    return confidence, affinity


def moved(x, y):
    return FIGURE + np.array([x, y])


def from_left(people):
    return people[np.argsort(people[:, 1, 0])]


def test_people_side_by_side_are_told_apart():
    wanted = [moved(0, 0), moved(64, 5), moved(150, 9)]
    found = find_people(*maps_of(wanted))
    assert found.shape == (3, 18, 3) and found.dtype == np.float32
    for person, points in zip(from_left(found), wanted, strict=True):
        # Centres of pixels are half a pixel from their index; close points' maps overlap and move peaks a little.
        assert np.abs(person[:, :2] - points - 0.5).max() <= 1
        assert (person[:, 2] > 0.9).all()


def test_hidden_points_are_zero():
    hidden = FIGURE.copy()
    hidden[[4, 9, 10]] = np.nan  # right wrist, knee and ankle
    (person,) = find_people(*maps_of([hidden]))
    assert (person[[4, 9, 10]] == 0).all()
    assert (person[np.isfinite(hidden[:, 0]), 2] > 0.9).all()


def test_too_few_points_and_empty_pictures_are_nobody():
    arm = np.full((18, 2), np.nan)
    arm[[2, 3, 4]] = FIGURE[[2, 3, 4]]
    assert find_people(*maps_of([arm])).shape == (0, 18, 3)
    assert find_people(*maps_of([])).shape == (0, 18, 3)


def test_without_affinity_points_belong_to_nobody():
    confidence, affinity = maps_of([FIGURE])
    assert len(find_people(confidence, np.zeros_like(affinity))) == 0
    assert len(find_people(confidence, -affinity)) == 0


@pytest.mark.parametrize("shift", [60, 70])
def test_crossed_arms_follow_the_affinities(shift):
    """Two people, each with a hand nearer to the other's elbow: position alone would mix them up."""
    left, right = moved(0, 0), moved(shift, 0)
    left[7], right[4] = (shift, 76), (54, 84)
    found = from_left(find_people(*maps_of([left, right])))
    assert len(found) == 2
    assert np.abs(found[0, 7, :2] - left[7] - 0.5).max() <= 1
    assert np.abs(found[1, 4, :2] - right[4] - 0.5).max() <= 1
