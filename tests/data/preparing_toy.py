"""Rows and encoders to prepare data sets from: pictures, captions and encodings tell the row that they are from."""

import io

import jax.numpy as jnp
import numpy as np
from PIL import Image

from lisa_jax.data.rows import Row, RowError
from lisa_jax.families.family import LatentSpace
from lisa_jax.preparing.encoding import Encoding
from lisa_jax.preparing.examples import ExampleMaker
from lisa_jax.preparing.prepare import Task

SIZES = ((16, 16), (8, 24))


def png(seed, height=16, width=16):
    buffer = io.BytesIO()
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)))


class Table:
    """Rows whose image, condition and caption tell their number; every third one is wide. `bad` ones are damaged."""

    def __init__(self, length, bad=None):
        self.length = length
        self.bad = bad or {}

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        size = (8, 24) if index % 3 == 2 else (16, 16)
        image = png(index, *size)
        if self.bad.get(index) == "caption":
            raise RowError(f"table.parquet row {index}: the caption in 'caption' is empty.")
        if self.bad.get(index) == "image":
            image = image[: len(image) // 2]
        return Row(f"table.parquet row {index}", image, {"pose": png(1000 + index, *size)}, f"number {index % 5}", {})


def negative(example):
    return 255 - example["image"]


def box_means(params, images):
    """A latent space that keeps the mean colour of 8 x 8 pixels, and `params` as log-variance."""
    n, height, width, _ = images.shape
    boxes = images.astype(jnp.float32).reshape(n, height // 8, 8, width // 8, 8, 3).mean((2, 4))
    return jnp.concatenate([boxes, jnp.full_like(boxes, params["log_variance"])], axis=-1)


PARAMS = {"log_variance": np.float32(-3)}
LATENTS = LatentSpace(lambda: PARAMS, box_means, None, None, lambda height, width: (height // 8, width // 8, 3))


def text_lengths(captions):
    """Contexts of 2 x 4 that hold the caption's length and its last letter."""
    return np.stack(
        [np.full((2, 4), [len(caption), ord((caption or "?")[-1]), 0, 1], np.float32) for caption in captions]
    )


def task(**overrides):
    fields = {
        "sizes": SIZES,
        "given": ("pose",),
        "computed": {"negative": negative},
        "test_fraction": 0.3,
        "encoding": Encoding(LATENTS, text_lengths, "abc", batch_size=4),
        "chunk_rows": 10,
        "skip_bad_rows": False,
    } | overrides
    maker = ExampleMaker(*(fields[name] for name in ("sizes", "given", "computed", "test_fraction")))
    settings = {name: str(fields[name]) for name in ("sizes", "given", "test_fraction", "chunk_rows")}
    return Task(maker, fields["encoding"], fields["chunk_rows"], fields["skip_bad_rows"], settings)
