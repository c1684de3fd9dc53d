import numpy as np
import pytest

from lisa_jax.evaluation.measures.edges import dark_lines, line_f1, lit_lines


def column(*positions, size=7):
    """A map with vertical lines at the given columns."""
    lines = np.zeros((size, size), bool)
    lines[:, list(positions)] = True
    return lines


def test_equal_lines():
    assert line_f1(column(2), column(2)) == 1.0
    assert line_f1(column(2), column(2), tolerance=0) == 1.0


@pytest.mark.parametrize(("shift", "tolerance", "expected"), [(1, 0, 0), (1, 1, 1), (2, 1, 0), (2, 2, 1)])
def test_tolerance_is_a_distance_in_pixels(shift, tolerance, expected):
    assert line_f1(column(2 + shift), column(2), tolerance) == expected


def test_diagonal_neighbours_count_as_one_pixel_away():
    prediction, reference = np.zeros((2, 5, 5), bool)
    prediction[1, 1] = reference[2, 2] = True
    assert line_f1(prediction, reference, tolerance=1) == 1.0


def test_half_of_the_lines_missing():
    # precision 1, recall 1/2: F1 = 2/3
    assert line_f1(column(1), column(1, 5)) == pytest.approx(2 / 3)


def test_one_line_too_many():
    # precision 1/2, recall 1: F1 = 2/3
    assert line_f1(column(1, 5), column(1)) == pytest.approx(2 / 3)


def test_everything_black_is_punished_by_precision():
    # reference: 1 of 7 columns; within 1 pixel lie 3 of 7: precision 3/7, recall 1: F1 = 0.6
    assert line_f1(np.ones((7, 7), bool), column(3)) == pytest.approx(0.6)


def test_lines_do_not_wrap_around_the_border():
    assert line_f1(column(0), column(6)) == 0.0


def test_empty_maps():
    assert line_f1(column(), column()) == 1.0
    assert line_f1(column(), column(1)) == 0.0
    assert line_f1(column(1), column()) == 0.0


def test_bad_maps():
    with pytest.raises(ValueError, match="prediction must be a bool"):
        line_f1(np.zeros((4, 4), np.uint8), column(1))
    with pytest.raises(ValueError, match="sizes must agree"):
        line_f1(column(1, size=8), column(1))
    with pytest.raises(ValueError, match="tolerance is -1"):
        line_f1(column(1), column(1), tolerance=-1)


def test_dark_lines_take_black_but_no_saturated_colour():
    image = np.array([[[0, 0, 0], [95, 95, 95], [96, 96, 96], [210, 0, 0], [0, 0, 200], [255, 255, 255]]], np.uint8)
    assert dark_lines(image).tolist() == [[True, True, False, False, False, False]]


def test_lit_lines_are_the_negative_of_dark_ones():
    black_on_white = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=-1)
    np.testing.assert_array_equal(lit_lines(255 - black_on_white), dark_lines(black_on_white))
