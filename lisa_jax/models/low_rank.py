"""Two factors in place of a kernel, "down" and "up", whose product is added to one that stays as it is.

LoRA (Hu et al. 2021, arXiv 2106.09685). `layers.Factored` computes with them; of a convolution the product is that of
the flattened factors, as in PyTorch's layout of `up.flatten(1) @ down.flatten(1)`.
"""

from collections.abc import Sequence

import numpy as np

Shape = tuple[int, ...]


def factor_shapes(kernel: Sequence[int], rank: int) -> tuple[Shape, Shape]:
    """Shapes of "down" and "up" of a kernel, (in, out) or (height, width, in, out).

    "down" is laid out as the kernel, with the rank in place of its outputs; "up" is a map of single pixels. The rank is
    at most the kernel's inputs or outputs.
    """
    *window, width, features = kernel
    rank = min(rank, width, features)
    return (*window, width, rank), (*(1 for _ in window), rank, features)


def merged_kernel(kernel: np.ndarray, down: np.ndarray, up: np.ndarray) -> np.ndarray:
    """kernel + down up, float32."""
    down, up = (np.asarray(factor, np.float32) for factor in (down, up))
    return np.asarray(kernel, np.float32) + down @ up.reshape(up.shape[-2:])
