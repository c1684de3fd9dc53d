import numpy as np
import pytest

from lisa_jax.evaluation.measures.pose import match_people, pck, pck_by_picture


def person(x=0.0, y=0.0, visible=18):
    """Points along the diagonal of a box of 30 x 40 pixels (diagonal 50) from (x, y); the first `visible` are shown."""
    points = np.zeros((18, 3), np.float32)
    points[:visible, :2] = np.linspace((x, y), (x + 30, y + 40), visible)
    points[:visible, 2] = 1
    return points


def test_distance_is_measured_in_diagonals_of_the_reference_box():
    # 50 pixels of diagonal: 10 are right at 0.2, 5 at 0.1.
    reference = person()
    detected = reference + np.array([0, 0, 0])
    detected[0, :2] += (10.0, 0.0)
    detected[1, :2] += (0.0, 10.5)
    detected[2, :2] += (3.0, 4.0)
    assert pck(detected[None], reference[None]) == pytest.approx(17 / 18)
    assert pck(detected[None], reference[None], alpha=0.1) == pytest.approx(16 / 18)
    assert pck(detected[None], reference[None], alpha=0.05) == pytest.approx(15 / 18)


def test_hidden_points_do_not_count_and_points_without_confidence_are_wrong():
    reference = person(visible=6)
    detected = reference.copy()
    detected[6:] = (500, 500, 0.05)  # where the reference shows nothing; too faint to be in the box
    detected[1, 2] = 0.09
    assert pck([detected], [reference]) == pytest.approx(5 / 6)
    assert pck([detected], [reference], min_confidence=0.05) == 1.0
    detected[:, 2] = 0
    assert pck([detected], [reference]) == 0.0


def test_people_are_matched_by_their_boxes_in_any_order():
    reference = np.stack([person(0, 0), person(100, 0), person(200, 0, visible=9)])
    assert pck([reference[[2, 0, 1]]], [reference]) == 1.0
    # One not found again: all of its 18 points of 45 are wrong. Others than those asked for do not count.
    assert pck([np.stack([person(100, 0), person(200, 0, visible=9), person(0, 300)])], [reference]) == 27 / 45
    assert pck([np.zeros((0, 18, 3))], [reference]) == 0.0
    # Over all pictures together, not a mean of pictures.
    assert pck([reference[0], reference[:0]], [reference[0], reference[2]]) == 18 / 27


def test_the_mean_over_pictures_weighs_a_crowd_like_one_person_and_leaves_empty_pictures_out():
    crowd, alone, empty = np.stack([person(0, 0), person(100, 0)]), person(), np.zeros((0, 18, 3))
    found, wanted = [crowd[:1], alone, alone], [crowd, alone, empty]
    assert pck(found, wanted) == 36 / 54
    assert pck_by_picture(found, wanted) == (18 / 36 + 18 / 18) / 2
    with pytest.raises(ValueError, match="nothing to find"):
        pck_by_picture([alone], [empty])


def test_matching_gives_each_person_one_match_and_the_largest_overlap_in_all():
    # Greedily the first detection would take reference 0 (the larger overlap) and leave the second nothing.
    reference = np.array([[0, 0, 10, 10], [8, 0, 18, 10]], float)
    detected = np.array([[3, 0, 13, 10], [-7, 0, 3, 10]], float)
    assert sorted(match_people(detected, reference)) == [(0, 1), (1, 0)]
    assert match_people(detected + 50, reference) == []
    # A straight limb and a missing person.
    assert match_people(np.array([[0, 5, 10, 5.0], [np.nan] * 4]), np.array([[2, 5, 12, 5.0]])) == [(0, 0)]


def test_who_has_no_size_is_left_out_and_wrong_input_is_refused():
    lone = person(visible=1)
    assert pck([np.stack([person(), lone])], [np.stack([person(), lone])]) == 1.0
    with pytest.raises(ValueError, match="nothing to find"):
        pck([lone], [lone])
    with pytest.raises(ValueError, match="detected is of 1 pictures, but reference of 2"):
        pck([lone], [lone, lone])
    with pytest.raises(ValueError, match=r"reference\[0\] is \(17, 3\)"):
        pck([lone], [lone[:17]])
