"""Pictures to probe the image toy on."""

import numpy as np

from lisa_jax.probing.pictures import Pictures, ProbePictures, probe_pictures
from toys.image import SIZE, WORDS


def pictures(split: str, count: int, seed: int, conditions: tuple[str, ...] = ("edges",)) -> Pictures:
    """Latents that know nothing of the conditions, with a context that says nothing."""
    generator, shape = np.random.default_rng(seed), (count, SIZE, SIZE, 3)
    latents = generator.normal(size=shape).astype(np.float32)
    condition = {name: generator.random(shape, np.float32) for name in conditions}
    context = np.zeros((count, *WORDS.shape), np.float32)
    return Pictures(split, np.arange(count, dtype=np.int32), latents, context, condition)


def pictures_of_all_parts() -> ProbePictures:
    """48 pictures to fit, 16 to validate and 16 to test."""
    return probe_pictures(pictures("train", 64, 0), pictures("test", 16, 1))
