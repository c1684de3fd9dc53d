import cv2
import numpy as np
import pytest

from lisa_jax.data.conditions.openpose import COLOURS, KEYPOINTS, LIMBS, draw_openpose

SIZE = 256
# A person with arms aside: x, y as shares of the picture.
PERSON = np.array(
    [
        (0.5, 0.15), (0.5, 0.25), (0.4, 0.26), (0.3, 0.4), (0.2, 0.5), (0.6, 0.26), (0.7, 0.4), (0.8, 0.5),
        (0.44, 0.55), (0.43, 0.72), (0.42, 0.9), (0.56, 0.55), (0.57, 0.72), (0.58, 0.9),
        (0.47, 0.12), (0.53, 0.12), (0.43, 0.14), (0.57, 0.14),
    ]
)  # fmt: skip


def person(size=SIZE, missing=()):
    keypoints = np.concatenate([PERSON * size, np.ones((18, 1))], axis=1).astype(np.float32)
    keypoints[list(missing), 2] = 0
    return keypoints


def test_limbs_and_points_have_openposes_colours():
    picture = draw_openpose(person(), SIZE, SIZE)
    assert picture.shape == (SIZE, SIZE, 3) and picture.dtype == np.uint8
    for (x, y), colour in zip(PERSON * SIZE, COLOURS, strict=True):
        np.testing.assert_array_equal(picture[int(y), int(x)], colour)
    for (start, end), colour in zip(LIMBS, COLOURS, strict=False):
        x, y = (PERSON[start] + PERSON[end]) / 2 * SIZE
        np.testing.assert_array_equal(picture[int(y), int(x)], [int(0.6 * channel) for channel in colour])
    # The sides as OpenPose has them: the person's right arm is orange to yellow, the left one green.
    assert COLOURS[KEYPOINTS.index("right elbow")] == (255, 255, 0)
    assert COLOURS[KEYPOINTS.index("left elbow")] == (0, 255, 0)


def test_drawing_is_that_of_the_reference():
    """The annotator's own calls, at the size it was written for; ours is smoother at borders."""
    size = 512
    points = PERSON * size
    expected = np.zeros((size, size, 3), np.uint8)
    for (start, end), colour in zip(LIMBS, COLOURS, strict=False):
        (x0, y0), (x1, y1) = points[start], points[end]
        angle = int(np.degrees(np.arctan2(y0 - y1, x0 - x1)))
        axes = (int(np.hypot(x0 - x1, y0 - y1) / 2), 4)
        polygon = cv2.ellipse2Poly((int((x0 + x1) / 2), int((y0 + y1) / 2)), axes, angle, 0, 360, 1)
        cv2.fillConvexPoly(expected, polygon, [int(0.6 * channel) for channel in colour])
    for (x, y), colour in zip(points, COLOURS, strict=True):
        cv2.circle(expected, (int(x), int(y)), 4, colour, thickness=-1)
    drawn = draw_openpose(person(size), size, size)
    lit, lit_expected = drawn.max(-1) > 60, expected.max(-1) > 60
    assert (lit & lit_expected).sum() > 0.85 * (lit | lit_expected).sum()
    inside = cv2.erode((lit & lit_expected).astype(np.uint8), np.ones((3, 3))) > 0
    different = np.abs(drawn.astype(int) - expected).max(-1)[inside]
    print(f"inside limbs and points: {np.mean(different > 8):.3f} of the pixels differ by more than 8")
    assert np.mean(different > 8) < 0.05


def test_a_missing_point_takes_its_limbs_along():
    elbow = KEYPOINTS.index("left elbow")
    x, y = (PERSON[5] + PERSON[6]) / 2 * SIZE
    whole, without = draw_openpose(person(), SIZE, SIZE), draw_openpose(person(missing=[elbow]), SIZE, SIZE)
    assert whole[int(y), int(x)].any() and not without[int(y), int(x)].any()
    # The wrist is still a point, the other arm as it was.
    x, y = PERSON[7] * SIZE
    assert without[int(y), int(x)].any()
    np.testing.assert_array_equal(whole[:, : SIZE // 2 - 8], without[:, : SIZE // 2 - 8])
    assert not draw_openpose(person(missing=range(18)), SIZE, SIZE).any()


@pytest.mark.parametrize(("size", "width"), [(512, 8.0), (1024, 16.0), (32, 1.5)])
def test_limbs_are_as_wide_as_the_picture_asks(size, width):
    keypoints = np.zeros((18, 3))
    # Hip and knee above each other on the line between two pixels.
    keypoints[[8, 9]] = [(size / 2, size / 4, 1), (size / 2, 3 * size / 4, 1)]
    picture = draw_openpose(keypoints, size, size)
    row = picture[size // 2].astype(float).sum(-1)
    full = 0.6 * sum(COLOURS[LIMBS.index((8, 9))])
    assert row.sum() / full == pytest.approx(width, rel=0.08)
    centre = row @ (np.arange(size) + 0.5) / row.sum()
    assert centre == pytest.approx(size / 2, abs=0.25)


def test_several_people_and_flat_lists():
    first, second = person(), person()
    second[:, 0] = SIZE / 2 + (second[:, 0] - SIZE / 2) / 2
    both = draw_openpose(np.stack([first, second]), SIZE, SIZE)
    np.testing.assert_array_equal(draw_openpose([*first.ravel().tolist(), *second.ravel().tolist()], SIZE, SIZE), both)
    assert (both.max(-1) > 0).sum() > (draw_openpose(first, SIZE, SIZE).max(-1) > 0).sum()
    assert not draw_openpose(np.zeros((0, 18, 3)), SIZE, SIZE).any()


def test_any_shape_of_picture():
    picture = draw_openpose(person(64), 64, 200)
    assert picture.shape == (64, 200, 3)
    assert picture[:, :64].any() and not picture[:, 64:].any()


def test_what_is_no_pose_is_refused():
    with pytest.raises(ValueError, match=r"not of shape \(17, 3\)"):
        draw_openpose(np.zeros((17, 3)), SIZE, SIZE)
    with pytest.raises(ValueError, match=r"not of shape \(75,\)"):
        draw_openpose(np.zeros(75), SIZE, SIZE)
    broken = person()
    broken[3, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        draw_openpose(broken, SIZE, SIZE)
    # Of a missing point nothing is read.
    broken[3, 2] = 0
    np.testing.assert_array_equal(draw_openpose(broken, SIZE, SIZE), draw_openpose(person(missing=[3]), SIZE, SIZE))
