import numpy as np
import pytest

from lisa_jax.evaluation.fidelity import bounded_fidelity


def drawing(column):
    condition = np.zeros((8, 8, 3), np.uint8)
    condition[:, column] = 255
    return condition, 255 - condition


def test_ceiling_floor_and_an_offset_of_one_pixel():
    conditions, images = (np.stack(part) for part in zip(drawing(1), drawing(6), strict=True))
    shifted = np.roll(images, 1, axis=2)
    found = bounded_fidelity("lineart", shifted, np.full_like(images, 255), images, conditions)
    assert found["real images"] == {"f1_tolerance_0": 1.0, "f1_tolerance_1": 1.0}
    assert found["other images"] == {"f1_tolerance_0": 0.0, "f1_tolerance_1": 0.0}
    assert found["no control"] == {"f1_tolerance_0": 0.0, "f1_tolerance_1": 0.0}
    assert found["control"] == {"f1_tolerance_0": 0.0, "f1_tolerance_1": pytest.approx(1.0)}


def test_what_has_no_ceiling_says_so_and_an_unknown_condition_is_refused():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    found = bounded_fidelity("lowres", images, 255 - images, images, images)
    assert found["control"]["psnr"] is None
    assert found["no control"]["psnr"] < 20
    with pytest.raises(ValueError, match="'pose': there are lineart"):
        bounded_fidelity("pose", images, images, images, images)
