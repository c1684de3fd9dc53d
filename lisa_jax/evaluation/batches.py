"""Many pictures through a compiled function, some at a time."""

from collections.abc import Callable

import jax
import numpy as np


def in_batches(function: Callable[..., jax.Array], *arrays: np.ndarray, size: int) -> np.ndarray:
    """The rows (n, ...) of a function of arrays (n, ...), `size` rows at a time; n is 1 or more.

    The last part reaches back where it would not be full: all parts then have one size and compile once.
    """
    n = len(arrays[0])
    size = min(size, n)
    parts = []
    for start in range(0, n, size):
        first = min(start, n - size)
        found = function(*(array[first : first + size] for array in arrays))
        parts.append(np.asarray(found)[start - first :])
    return np.concatenate(parts)
