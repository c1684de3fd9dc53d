"""What the paper's protocol measures with a user's networks; here they are functions that see what a picture says."""

import numpy as np
import pytest

from lisa_jax.evaluation.measures.segmentation import miou_with_void
from lisa_jax.evaluation.measures.table import MEASURES
from lisa_jax.evaluation.measures.task_measures import measure

POSE = np.stack([*np.random.default_rng(0).uniform(0, 100, (2, 18)), np.ones(18)], -1).astype(np.float32)


def pictures(*values):
    """Pictures whose first pixels hold the values, the rest 0."""
    images = np.zeros((len(values), 4, 4, 3), np.uint8)
    for image, value in zip(images, values, strict=True):
        image[0, : len(value), 0] = value
    return images


def person(image):
    """Stands as far to the right as the first pixel is red; its confidence is the second pixel's red in tenths."""
    if not image.any():
        return np.zeros((0, 18, 3))
    shift, confidence = image[0, :2, 0]
    return (POSE + np.array([shift, 0, 0]))[None] * [1, 1, confidence / 10]


RED = {
    "depth": lambda images: [image[..., 0].astype(np.float32) for image in images],
    "segmentation": lambda images: [image[..., 0] for image in images],
    "pose": lambda images: [person(image) for image in images],
}


def measured(task, samples, references, truth=()):
    """What the network that sees red measures."""
    own, network = MEASURES[task].network, RED[task]
    return measure(own.measures, own.observe(samples, network), own.reference(references, network, dict(truth)))


def test_depth_rmse_against_the_real_picture_and_against_truth():
    samples, references = pictures([100], [50]), pictures([50], [0, 80])
    # Normalised to 0..1 the first pair agrees; in the second one pixel of 16 each is wrong by 1.
    expected = (0 + np.sqrt(2 / 16)) / 2
    assert measured("depth", samples, references)["depth_rmse"] == pytest.approx(expected)
    distance = np.full((2, 4, 4), 2.0)
    distance[:, 0, 0] = 0.5
    measures = measured("depth", samples, references, {"depth": distance})
    assert measures == pytest.approx({"depth_rmse": 0, "aligned_depth_rmse": 0}, abs=1e-7)
    with pytest.raises(ValueError, match="must be above 0"):
        measured("depth", samples, references, {"depth": distance * 0})


def test_depth_is_held_against_the_condition_picture():
    network = MEASURES["depth"].network
    samples = pictures([100, 50])
    wanted = network.of_condition(samples // 2)
    assert wanted.shape == (1, 4, 4)
    # Both maps are stretched to 0..1, so half the brightness says the same.
    values = measure(network.measures, network.observe(samples, RED["depth"]), wanted)
    assert values == pytest.approx({"depth_rmse": 0, "aligned_depth_rmse": 0}, abs=1e-7)


@pytest.mark.parametrize("task", MEASURES)
def test_every_measure_has_a_protocol_in_words(task):
    found = MEASURES[task]
    assert set(found.protocol) == set(found.measures)
    assert found.network is None or set(found.network.measures) <= set(found.network.protocol)


def test_miou_is_over_all_pictures_and_leaves_void_out():
    samples, references = pictures([1, 2], [0]), pictures([1, 1], [0])
    # Class 0: 30 of 30; class 1: 1 of 2; class 2: 0 of 1.
    measures = measured("segmentation", samples, references)
    assert measures == {"miou": pytest.approx((1 + 1 / 2 + 0) / 3)}
    labels = references[..., 0].copy()
    labels[0, 0, 1] = 255
    assert measured("segmentation", samples, references, {"labels": labels}) == {"miou": 1}


def test_labels_are_checked():
    labels = np.zeros((1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="labels from 150 to 150"):
        miou_with_void(labels, labels + np.uint8(150))
    with pytest.raises(ValueError, match="every pixel of reference is 255"):
        miou_with_void(labels, labels + np.uint8(255))
    with pytest.raises(ValueError, match="sizes must agree"):
        miou_with_void(labels, labels[:, :1])


def test_pck_finds_moved_people_again():
    diagonal = np.linalg.norm(np.ptp(POSE[:, :2], axis=0))
    near, far = int(0.2 * diagonal) - 1, int(0.2 * diagonal) + 2
    references = pictures([0, 10], [0, 10])
    assert measured("pose", pictures([near, 10], [far, 10]), references) == {"pck": 0.5, "pck_by_picture": 0.5}
    assert measured("pose", pictures([0, 10], [0]), references) == {"pck": 0.5, "pck_by_picture": 0.5}
    truth = {"keypoints": np.stack([POSE, POSE + np.float32([far, 0, 0])])}
    assert measured("pose", pictures([0, 10], [far, 10]), references, truth)["pck"] == 1


def test_doubtful_points_of_the_real_picture_are_no_truth():
    reference = MEASURES["pose"].network.reference
    (people,) = reference(pictures([5, 10]), RED["pose"], {})
    assert (people[..., 2] == 1).all()
    doubtful = np.concatenate([POSE[:9], POSE[9:] * [1, 1, 0.05]])
    (people,) = reference(pictures([5]), lambda images: [doubtful[None]], {})
    assert (people[0, :9] == POSE[:9]).all() and (people[0, 9:] == 0).all()
