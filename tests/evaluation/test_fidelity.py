import numpy as np
import pytest

from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.evaluation.measures.table import MEASURES, lower_is_better, measures


def drawing(column):
    condition = np.zeros((8, 8, 3), np.uint8)
    condition[:, column] = 255
    return condition, 255 - condition


def test_lines_a_pixel_off_count_within_the_tolerance_alone():
    conditions, images = (np.stack(part) for part in zip(drawing(1), drawing(6), strict=True))
    shifted = np.roll(images, 1, axis=2)
    found = fidelity("lineart", shifted, images, {"lineart": conditions})
    assert found == {"f1_tolerance_0": 0.0, "f1_tolerance_1": pytest.approx(1.0)}


def marked(columns):
    """Pictures with a white column each, 16 x 16; where it is stands for the pose, how far right for the distance."""
    images = np.zeros((len(columns), 16, 16, 3), np.uint8)
    for image, column in zip(images, columns, strict=True):
        image[:, column] = 255
    return images


def read_pose(images):
    points = np.zeros((len(images), 18, 3), np.float32)
    points[..., 0] = images[..., 0].mean(1).argmax(-1)[:, None] + np.linspace(-3.6, 3.6, 18)
    points[..., 1] = np.linspace(3, 12.6, 18)
    points[..., 2] = 1
    return points


def read_inverse_depth(images):
    return images[..., 0] / 255.0 + 1


def test_pose_is_compared_with_the_true_key_points_not_with_the_references():
    # The box of 7.2 x 9.6 has a diagonal of 12: a point may be off by 2.4, 1.2 or 0.6 pixels.
    truth = {"keypoints": read_pose(marked([4, 8]))}
    black = np.zeros((2, 16, 16, 3), np.uint8)
    found = fidelity("pose", marked([5, 10]), black, {}, truth, {"pose": read_pose})
    assert found == {"pck_0.1": 0.5, "pck": 1.0, "pck_0.05": 0.0, "pck_by_picture": 1.0}
    assert tuple(found) == measures("pose")


def test_depth_is_compared_with_the_true_inverse_depth():
    images = marked([4, 8])
    truth = {"depth": 1 / (3 * read_inverse_depth(images) + 1)}

    def of(samples):
        return fidelity("depth", samples, images, {}, truth, {"depth": read_inverse_depth})

    assert of(images) == {name: pytest.approx(0, abs=1e-9) for name in measures("depth")}
    assert of(255 - images)["depth_rmse"] == pytest.approx(1)
    # Two columns of sixteen are wrong.
    assert of(images[::-1])["depth_rmse"] == pytest.approx(np.sqrt(2 / 16))
    assert all(lower_is_better(name) for name in measures("depth"))


def test_a_composed_task_has_the_measures_of_its_parts():
    conditions, images = (np.stack(part) for part in zip(drawing(1), drawing(6), strict=True))
    both = {"lineart": conditions, "segmentation": images}
    found = fidelity("lineart+segmentation", images, images, both)
    assert found == {"lineart/f1_tolerance_0": 1.0, "lineart/f1_tolerance_1": 1.0, "segmentation/miou": 1.0}
    assert tuple(found) == measures("lineart+segmentation")
    assert fidelity("lineart+segmentation", np.full_like(images, 255), images, both)["lineart/f1_tolerance_1"] == 0.0
    assert lower_is_better("depth/depth_rmse") and not lower_is_better("pose/pck")
    with pytest.raises(ValueError, match="one condition a part, by name, but was given segmentation"):
        fidelity("lineart+segmentation", images, images, {"segmentation": images})
    with pytest.raises(ValueError, match="'canny': there are"):
        measures("canny+pose")


def test_what_is_missing_is_named():
    images = marked([1])
    with pytest.raises(ValueError, match="'pose' is measured against the examples' true 'keypoints'"):
        fidelity("pose", images, images, {})
    with pytest.raises(ValueError, match="No estimator of pose for pictures of 'figures' at 16 px"):
        fidelity("pose", images, images, {}, {"keypoints": read_pose(images)})


def test_which_measures_fall_as_fidelity_grows():
    falling = {name for task in MEASURES for name in measures(task) if lower_is_better(name)}
    assert falling == {"depth_rmse", "aligned_depth_rmse"}
