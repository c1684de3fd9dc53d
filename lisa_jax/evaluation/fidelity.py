"""How well samples follow a task's condition, by task, with ceiling and floors."""

import math

import numpy as np

from lisa_jax.evaluation.image_similarity import lowres_psnr, psnr, ssim
from lisa_jax.evaluation.line_fidelity import mean_line_f1
from lisa_jax.evaluation.segmentation import visible_miou

# The first measure of a task is the one that speed-ups are computed for; all grow with fidelity.
MEASURES = {
    "lineart": ("f1_tolerance_0", "f1_tolerance_1"),
    "lowres": ("psnr", "ssim", "lowres_psnr"),
    "segmentation": ("miou",),
}


def fidelity(task: str, samples: np.ndarray, references: np.ndarray, conditions: np.ndarray) -> dict[str, float]:
    """Means over examples of the task's MEASURES; all arrays uint8 (n, H, W, 3), references the real pictures."""
    if task == "lineart":
        return mean_line_f1(samples, conditions)
    if task == "lowres":
        measures = {"psnr": psnr, "ssim": ssim, "lowres_psnr": lowres_psnr}
        return {name: float(np.mean(measure(samples, references))) for name, measure in measures.items()}
    if task == "segmentation":
        return {"miou": visible_miou(samples, references)}
    raise ValueError(f"No fidelity measure for the condition '{task}': there are {', '.join(MEASURES)}.")


def bounded_fidelity(
    task: str, controlled: np.ndarray, uncontrolled: np.ndarray, references: np.ndarray, conditions: np.ndarray
) -> dict[str, dict[str, float | None]]:
    """`fidelity` of four sets of images, all uint8 (n, H, W, 3), to the same conditions.

    Returns:
      "control": samples with the side network; "no control": samples of the main network alone, the floor;
      "real images": the ceiling; "other images": real images, each against the condition of another one. A measure
      without a bound, as the PSNR of a picture against itself, is None.
    """
    sets = {
        "control": controlled,
        "no control": uncontrolled,
        "real images": references,
        "other images": np.roll(references, 1, axis=0),
    }
    return {
        name: {
            measure: value if math.isfinite(value) else None
            for measure, value in fidelity(task, images, references, conditions).items()
        }
        for name, images in sets.items()
    }
