"""Contexts that show a first frame, of clips of several sizes."""

import numpy as np

from lisa_jax.families.conditioner import Conditioner
from lisa_jax.preparing.encoding import with_contexts
from lisa_jax.preparing.images import ConditionedImage


def clip(number, size_index):
    frames = np.full((2, 4 + 4 * size_index, 8, 3), number, np.uint8)
    return ConditionedImage(f"row {number}", "train", size_index, frames, {}, "", (8, 8), (0, 0), fps=7.0)


def test_first_frames_of_several_sizes_are_encoded_each_with_their_like_and_keep_their_order():
    def read(examples):
        return {"first_frame": np.stack([example["first_frame"] for example in examples])}

    conditioner = Conditioner(dict, read, lambda params, rows: rows, None, {}, sees_pictures=True)
    clips = [clip(number, size_index) for number, size_index in enumerate([0, 1, 1, 0, 1])]
    found = list(with_contexts(clips, conditioner, 4))
    assert [one.where for one in found] == [one.where for one in clips]
    for one, of in zip(found, clips, strict=True):
        np.testing.assert_array_equal(one.context["first_frame"], of.image[0])
