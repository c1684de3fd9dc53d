"""Fidelity to a line condition: F1 of the lines that were asked for."""

import numpy as np

from lisa_jax.evaluation.measures.edges import dark_lines, line_f1, lit_lines

TOLERANCES = (0, 1)


def mean_line_f1(images: np.ndarray, conditions: np.ndarray) -> dict[str, float]:
    """Mean F1 between the dark lines of images and the lines of their conditions.

    Args:
      images: uint8 (n, H, W, 3).
      conditions: uint8 (n, H, W, 3), white lines on black.

    Returns:
      `f1_tolerance_0` and `f1_tolerance_1`: by how many pixels a line may be off.
    """
    pairs = [(dark_lines(image), lit_lines(condition)) for image, condition in zip(images, conditions, strict=True)]
    return {
        f"f1_tolerance_{tolerance}": float(np.mean([line_f1(*pair, tolerance=tolerance) for pair in pairs]))
        for tolerance in TOLERANCES
    }
