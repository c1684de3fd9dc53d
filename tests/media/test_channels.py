"""How pictures of other channels than colours are written and shown."""

import numpy as np
import pytest

from lisa_jax.media.channels import in_colours
from lisa_jax.media.decode import decode_picture
from lisa_jax.media.grid import labelled_grid
from lisa_jax.media.image import IMAGE


def test_they_are_shown_in_grey_or_over_grey():
    np.testing.assert_array_equal(in_colours(np.array([[7], [9]], np.uint8)), [[7, 7, 7], [9, 9, 9]])
    np.testing.assert_array_equal(in_colours(np.array([[7, 0], [9, 255]], np.uint8)), [[7, 7, 7], [9, 9, 9]])
    np.testing.assert_array_equal(in_colours(np.array([1, 2, 3], np.uint8)), [1, 2, 3])
    over_grey = in_colours(np.array([[200, 0, 100, 0], [200, 0, 100, 255], [228, 28, 128, 51]], np.uint8))
    np.testing.assert_array_equal(over_grey, [[128, 128, 128], [200, 0, 100], [148, 108, 128]])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_they_are_stored_as_they_are_and_stand_on_grids(channels, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (6, 5, channels), np.uint8)
    IMAGE.write(tmp_path / "x.png", picture)
    np.testing.assert_array_equal(decode_picture(tmp_path / "x.png", "x", channels), picture)
    np.testing.assert_array_equal(
        labelled_grid({"mask": [picture]}, cell=24), labelled_grid({"mask": [in_colours(picture)]}, cell=24)
    )
