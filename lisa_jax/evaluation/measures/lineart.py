"""Line art: F1 of the lines that were asked for."""

from functools import partial

import numpy as np

from lisa_jax.evaluation.measures.edges import dark_lines, line_f1, lit_lines
from lisa_jax.evaluation.measures.task_measures import TaskMeasures


def lines_f1(images: np.ndarray, conditions: np.ndarray, tolerance: int) -> np.ndarray:
    """F1 between the dark lines of each image and the lines of its condition: float64 (n,).

    Args:
      images: uint8 (n, H, W, 3).
      conditions: uint8 (n, H, W, 3), white lines on black.
      tolerance: by how many pixels a line may be off.
    """
    pairs = zip(images, conditions, strict=True)
    return np.array([line_f1(dark_lines(image), lit_lines(condition), tolerance) for image, condition in pairs])


LINEART = TaskMeasures(
    {f"f1_tolerance_{tolerance}": partial(lines_f1, tolerance=tolerance) for tolerance in (0, 1)},
    against="conditions",
    protocol={
        f"f1_tolerance_{tolerance}": f"F1 of lines, {tolerance} pixels off at most; mean over pictures"
        for tolerance in (0, 1)
    },
)
