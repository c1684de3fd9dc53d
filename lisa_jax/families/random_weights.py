"""Random weights that are made when they are asked for, so that a checkpoint can be written without being held."""

import dataclasses
import math
import zlib
from collections.abc import Mapping

import numpy as np

from lisa_jax.checkpoints.key_table import Entry
from lisa_jax.checkpoints.tree import tree_of


@dataclasses.dataclass(frozen=True)
class RandomLeaf:
    """A float32 leaf that is drawn whenever it is read as an array, and always the same.

    Kernels are normal with variance 1 / fan_in, which keeps the size of activations; embeddings are standard normal,
    norms and biases are moved off 1 and 0, where mixing them up would go unseen.
    """

    name: str
    shape: tuple[int, ...]
    seed: tuple[int, ...]
    dtype = np.dtype(np.float32)

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        draw = np.random.default_rng(self.seed).standard_normal(self.shape, np.float32)
        if self.name == "kernel":
            draw *= np.float32(1 / math.sqrt(math.prod(self.shape[:-1])))
        elif self.name != "embedding":
            draw *= np.float32(0.1)
            draw += np.float32(self.name == "scale")
        return draw.astype(dtype or np.float32, copy=False)


def random_tree(table: Mapping[str, Entry], seed: int) -> dict:
    """A parameter tree of `RandomLeaf` for a model's key table; a leaf depends on the seed and its key alone."""
    return tree_of(
        {
            entry.path: RandomLeaf(entry.path[-1], entry.shape, (seed, zlib.crc32(key.encode())))
            for key, entry in table.items()
        }
    )
