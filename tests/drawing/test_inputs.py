"""Batches of what is to be drawn."""

import numpy as np

from lisa_jax.drawing.inputs import Drawing, batches


def drawing(index, size):
    return Drawing(index, np.full((1,), index), {"pose": np.full((*size, 3), index, np.uint8)})


def test_pictures_of_one_size_share_batches():
    tall, wide = (4, 2), (2, 4)
    sizes = [tall, wide, tall, tall, wide]
    found = list(batches((drawing(*pair) for pair in enumerate(sizes)), 2, {tall: 3, wide: 2}))
    assert [[one.index for one in drawings] for drawings, _ in found] == [[0, 2], [1, 4], [3]]
    for drawings, arrays in found:
        space = sizes[drawings[0].index]
        # The last one is filled up, so that one program serves all of its size.
        assert arrays["conditions"]["pose"].shape == (2, *space, 3) and len(arrays["indices"]) == 2
        np.testing.assert_array_equal(arrays["context"][:, 0], arrays["indices"])
    (alone,) = batches([drawing(0, tall)], 16, {tall: 1})
    assert alone[1]["conditions"]["pose"].shape == (1, 4, 2, 3)
