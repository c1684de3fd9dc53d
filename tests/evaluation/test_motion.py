import numpy as np
import pytest

from lisa_jax.evaluation.motion import motion, optical_flow, seen_in_both, warped


@pytest.fixture(scope="module")
def moving():
    """Two clips of a smooth pattern that moves by (1.5, 1) pixels a frame: uint8 (2, 4, 48, 48, 3)."""
    rows, columns = np.mgrid[:48, :48].astype(float)

    def frame(t, phase):
        x, y = columns - 1.5 * t, rows - t
        waves = [np.sin(0.25 * x + phase + c) * np.cos(0.31 * y - c) for c in range(3)]
        return np.round(127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)

    return np.array([[frame(t, phase) for t in range(4)] for phase in (0.0, 1.0)])


def test_flow_is_that_of_the_pattern_and_warping_brings_it_back(moving):
    first, second = moving[0, :2]
    flow = optical_flow(first, second)
    inner = slice(12, -12)
    np.testing.assert_allclose(flow[inner, inner].mean((0, 1)), [1.5, 1.0], atol=0.15)
    back = warped(second.astype(np.float32), flow)
    assert np.abs(back - first)[inner, inner].mean() < 4 < np.abs(second.astype(float) - first)[inner, inner].mean()


def test_warping_by_whole_pixels_reads_where_the_flow_points():
    picture = np.random.default_rng(0).normal(size=(8, 8, 3)).astype(np.float32)
    flow = np.broadcast_to(np.float32([2, -1]), (8, 8, 2))
    np.testing.assert_allclose(warped(picture, flow)[3, 4], picture[2, 6], atol=1e-6)


def test_pixels_whose_flow_does_not_lead_back_are_occluded():
    forward, backward = np.zeros((2, 6, 6, 2), np.float32)
    forward[2, 3] = (2, 0)
    seen = seen_in_both(forward, backward)
    assert not seen[2, 3] and seen.sum() == 35


def test_real_clips_bound_both_measures_from_below(moving):
    real = motion(moving, moving)
    assert real["tof"] == 0
    still = motion(np.repeat(moving[:, :1], 4, axis=1), moving)
    assert still["tof"] > 1.0 and still["warping_error"] > 5 * real["warping_error"]


def test_flicker_is_seen_where_motion_is_right(moving):
    flicker = moving.astype(int) + np.array([0, 40, 0, 40])[:, None, None, None]
    found, real = motion(np.clip(flicker, 0, 255).astype(np.uint8), moving), motion(moving, moving)
    assert found["warping_error"] > real["warping_error"] + 0.03


def test_single_frames_and_other_shapes_are_refused(moving):
    with pytest.raises(ValueError, match="two frames or more"):
        motion(moving[:, :1], moving[:, :1])
    with pytest.raises(ValueError, match="real clips"):
        motion(moving[:1], moving)
