"""How embedded data sets keep clips: the frames one below the other, as one PNG."""

import io
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from lisa_jax.data.embedded.png import encode_png
from lisa_jax.data.embedded.records import RecordSource

# Frames a second of a motion that takes about a second.
FPS = 7
_STRIPS = ("image", "lineart", "labels")


def strip_file(frames: Sequence[np.ndarray]) -> io.BytesIO:
    """A PNG of frames uint8 (H, W, 1 or 3), which keeps them small; TFDS's features of videos would need TensorFlow.

    As a file object: an array handed to an Image feature would be encoded by TensorFlow.
    """
    return io.BytesIO(encode_png(np.concatenate(frames)))


class ClipSource(RecordSource):
    """Clips by index.

    `image` uint8 (F, H, W, 3); where the data set has them `lineart` uint8 (F, H, W, 1) and `labels` uint8 (F, H, W);
    `first_frame` uint8 (H, W, 3); `fps` int; `caption` str; `category` int, an index into `category_names`. Indexing
    raises CorruptRecordError for a record that cannot be read.
    """

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        example = super().__getitem__(index)
        side = example["image"].shape[1]
        clips = {
            name: example[name].reshape(-1, side, side, example[name].shape[-1]) for name in _STRIPS if name in example
        }
        clips |= {"labels": clips["labels"][..., 0]} if "labels" in clips else {}
        told = {"first_frame": clips["image"][0], "fps": FPS, "size": (side, side), "original_size": (side, side)}
        return example | clips | told
