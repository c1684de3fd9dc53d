"""Grids of pictures."""

import numpy as np

from lisa_jax.media.grid import MARGIN, _cut, labelled_grid


def test_pictures_stand_under_their_label_in_order():
    red, blue = (np.zeros((3, 8, 8, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[..., 2] = [[[50]], [[150]], [[250]]], [[[50]], [[150]], [[250]]]
    grid = labelled_grid({"condition": red, "sample": blue}, cell=40, blocks=2)
    centres = [MARGIN + 20, 2 * MARGIN + 60]
    header = 8
    assert [tuple(grid[header + 20, x]) for x in centres] == [(50, 0, 0), (0, 0, 50)]
    assert tuple(grid[header + 40 + MARGIN + 20, centres[0]]) == (150, 0, 0)
    # The third example starts the second block of columns.
    assert tuple(grid[header + 20, 2 * (40 + MARGIN) + 2 * MARGIN + centres[0]]) == (250, 0, 0)
    assert (grid[:header] != 255).any(), "labels"


def test_captions_stand_below_their_rows_and_are_cut_to_them():
    pictures = np.full((2, 8, 8, 3), 128, np.uint8)
    grid = labelled_grid({"with control": pictures}, cell=60, captions=["a cat", "a house " * 20])
    assert grid.shape == (12 + 2 * (60 + 10 + MARGIN) + MARGIN, 60 + 2 * MARGIN, 3)
    lines = [grid[12 + row * 74 + 60 :][:10] for row in range(2)]
    assert all((line < 100).any() for line in lines)
    assert (lines[0][:, 50:] == 255).all() and (lines[1][:, -MARGIN:] == 255).all()
    assert (grid[:, -MARGIN:] == 255).all(), "a label stays within its column"


def test_pictures_of_several_sizes_keep_their_shape():
    pictures = [np.zeros((8, 16, 3), np.uint8), np.zeros((16, 4, 3), np.uint8)]
    dark = (labelled_grid({"": pictures}, cell=40) == 0).all(axis=-1)
    assert [dark[:50].sum(), dark[50:].sum()] == [40 * 20, 10 * 40]


def test_a_caption_of_any_length_is_cut_in_no_time(monkeypatch):
    measured = []

    class Font:
        def getlength(self, text):
            measured.append(text)
            return 2 * len(text)

    monkeypatch.setattr("PIL.ImageFont.load_default", lambda size: Font())
    assert _cut("a " * 30_000, 60, 40)[0] == "a " * 13 + "a..."
    assert _cut("a" * 30, 60, 40)[0] == "a" * 30 and _cut("a" * 31, 60, 40)[0] == "a" * 27 + "..."
    assert _cut("abc", 2, 40)[0] == "..."
    assert len(measured) < 30
