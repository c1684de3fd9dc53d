"""Rows and encoders to prepare data sets from: pictures, captions and encodings tell the row that they are from."""

import io

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from lisa_jax.data.rows import Row, RowError
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.family import ConditionEncoder, LatentSpace
from lisa_jax.preparing.encoding import Encoding
from lisa_jax.preparing.images import ImageMaker
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
LATENTS = LatentSpace(lambda: PARAMS, box_means, None, None, lambda height, width: (height // 8, width // 8, 3), True)


def letters(examples):
    """The caption's length and its last letter, int32 (n, 2)."""
    captions = [example["caption"] for example in examples]
    return np.asarray([(len(caption), ord((caption or "?")[-1])) for caption in captions], np.int32)


def text_lengths(params, letters):
    """Contexts of 2 x 4 that hold what was read of the caption."""
    del params
    numbers = jnp.pad(letters.astype(jnp.float32), ((0, 0), (0, 2)))
    return jnp.broadcast_to(numbers[:, None], (len(letters), 2, 4))


CONDITIONER = Conditioner(dict, letters, text_lengths, None, jax.ShapeDtypeStruct((2, 4), jnp.float32))


def letters_and_sizes(examples):
    """What `letters` reads, and original size, crop and size of the picture, int32 (n, 6)."""
    unknown = (0, 0)
    known = [[example.get(name, unknown) for name in ("original_size", "crop", "size")] for example in examples]
    return {"letters": letters(examples), "sizes": np.asarray(known, np.int32).reshape(-1, 6)}


def three_leaves(params, read):
    """Contexts of float32 tokens and pooled tokens that bfloat16 does not hold exactly, and of int32 time ids."""
    tokens = text_lengths(params, read["letters"]) + 1 / 3
    return {"tokens": tokens, "pooled": tokens.mean(1), "time_ids": read["sizes"]}


# A family whose context is a tree, and whose side networks see latents.
CONDITIONER_OF_THREE = Conditioner(
    dict,
    letters_and_sizes,
    three_leaves,
    None,
    {
        "tokens": jax.ShapeDtypeStruct((2, 4), jnp.float32),
        "pooled": jax.ShapeDtypeStruct((4,), jnp.float32),
        "time_ids": jax.ShapeDtypeStruct((6,), jnp.int32),
    },
)
HALVED = ConditionEncoder(lambda params, pictures: box_means(params, pictures) / 2, None)


def task(**overrides):
    fields = {
        "sizes": SIZES,
        "given": ("pose",),
        "computed": {"negative": negative},
        "test_fraction": 0.3,
        "encoding": Encoding(LATENTS, conditioner=CONDITIONER, fingerprint="abc", batch_size=4),
        "chunk_rows": 10,
        "skip_bad_rows": False,
    } | overrides
    maker = ImageMaker(*(fields[name] for name in ("sizes", "given", "computed", "test_fraction")))
    settings = {name: str(fields[name]) for name in ("sizes", "given", "test_fraction", "chunk_rows")}
    return Task(maker, fields["encoding"], fields["chunk_rows"], fields["skip_bad_rows"], settings)
