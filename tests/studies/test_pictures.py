"""Grids of what a study saw and sampled: of clips they move."""

import numpy as np
import pytest
from PIL import Image

from lisa_jax.media.open_clip import open_clip, read_clip
from lisa_jax.studies.pictures import picture_grid, write_grid


def clips(count=6, frames=3, side=16):
    return np.random.default_rng(0).integers(0, 256, (count, frames, side, side, 3), np.uint8)


def test_each_frame_of_a_grid_of_clips_is_a_grid_of_their_frames(tmp_path):
    grid = picture_grid(clips())
    assert grid.shape == (3, 2 * 33 - 1, 4 * 33 - 1, 3)
    for number in range(3):
        np.testing.assert_array_equal(grid[number], picture_grid(clips()[:, number]))
    np.testing.assert_array_equal(grid[2, 33:65:2, 33:65:2], clips()[5, 2])
    assert (grid[:, 33:, 66:] == 255).all()
    write_grid(tmp_path / "run", "8", clips(), fps=7)
    (file,) = (tmp_path / "run").iterdir()
    assert file.name == "8.webp"
    np.testing.assert_array_equal(read_clip(file, "8"), grid)
    with open_clip(file, "8") as opened:
        assert opened.rate == pytest.approx(7, rel=1e-2)


def test_a_grid_of_pictures_is_a_png(tmp_path):
    write_grid(tmp_path, "reference", clips()[:, 0])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "reference.png")), picture_grid(clips()[:, 0]))
