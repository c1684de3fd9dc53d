"""Samples of the image toy on all devices that there are; as a command, which writes them."""

import sys

import numpy as np

from lisa_jax.sampling.generate import make_generator
from toys import image


def examples(count: int) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Contexts, conditions and indices."""
    context = image.words_of([{"caption": f"caption {index}"} for index in range(count)])
    edges = np.random.default_rng(0).integers(0, 256, (count, image.SIZE, image.SIZE, 3), np.uint8)
    return context, {"edges": edges}, np.arange(10, 10 + count)


def samples() -> np.ndarray:
    """Images of six examples, more than a batch, and no multiple of the devices."""
    family = image.family()
    generate = make_generator(family, num_steps=3, guidance_scale=2.0, batch_size=4)
    return generate(family.frozen, {}, {"edges": image.side_params(x_t=0.1, out=1.0)}, *examples(6))


if __name__ == "__main__":
    np.save(sys.argv[1], samples())
