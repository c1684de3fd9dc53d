"""Sets of clips as sets of pictures: measures of pictures are taken frame by frame."""

from collections.abc import Mapping

import numpy as np


def are_clips(examples: np.ndarray) -> bool:
    """Whether examples are clips, (n, F, H, W, 3), and not pictures, (n, H, W, 3)."""
    return examples.ndim == 5


def frames_of(rows: np.ndarray) -> np.ndarray:
    """What clips have of each of their frames, one after the other: (n * F, ...) of (n, F, ...)."""
    return rows.reshape(-1, *rows.shape[2:])


def frames_by_name(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`frames_of` several."""
    return {name: frames_of(array) for name, array in rows.items()}
