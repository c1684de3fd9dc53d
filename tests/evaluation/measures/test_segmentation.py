import numpy as np
import pytest

from lisa_jax.evaluation.measures.segmentation import confusion, mean_iou, visible_classes, visible_miou


def test_mean_iou_of_a_hand_worked_case():
    reference = np.array([[0, 0, 1], [1, 2, 2]])
    prediction = np.array([[0, 1, 1], [1, 2, 0]])
    counts = confusion(prediction, reference, 4)
    # class 0: 1 hit of 3 in the union; class 1: 2 of 3; class 2: 1 of 2; class 3 is nowhere.
    assert mean_iou(counts) == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert counts[2, 0] == 1 and counts.sum() == 6


def test_mean_iou_is_over_the_data_set_not_over_images():
    reference = np.array([[0, 0, 0, 0], [1, 0, 0, 0]])
    prediction = np.zeros_like(reference)
    assert mean_iou(confusion(prediction, reference, 2)) == pytest.approx((7 / 8 + 0) / 2)
    assert np.isnan(mean_iou(np.zeros((3, 3), np.int64)))


def test_refuses_labels_out_of_range_and_other_shapes():
    with pytest.raises(ValueError, match="prediction has labels from 0 to 3"):
        confusion(np.array([0, 3]), np.array([0, 1]), 3)
    with pytest.raises(ValueError, match="sizes must agree"):
        confusion(np.zeros(3, int), np.zeros(4, int), 2)


def test_visible_classes_of_drawn_colours():
    # White, OpenMoji's lightest grey, its red, its black line.
    image = np.array([[[255, 255, 255], [208, 207, 206], [234, 90, 71], [0, 0, 0]]], np.uint8)[None]
    assert visible_classes(image).tolist() == [[[0, 1, 1, 2]]]
    assert visible_miou(image, image) == 1.0
    assert visible_miou(np.full_like(image, 255), image) == pytest.approx(1 / 4 / 3)
