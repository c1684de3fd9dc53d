"""How well samples follow a task's condition, by task, with ceiling and floors."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from lisa_jax.evaluation.measures.depth import aligned_depth_rmse, depth_rmse
from lisa_jax.evaluation.measures.image_similarity import lowres_psnr, psnr, ssim
from lisa_jax.evaluation.measures.line_fidelity import mean_line_f1
from lisa_jax.evaluation.measures.pose import pck
from lisa_jax.evaluation.measures.segmentation import visible_miou

# Task -> its measures. The first is the one that speed-ups are computed for.
MEASURES = {
    "lineart": ("f1_tolerance_0", "f1_tolerance_1"),
    "lowres": ("psnr", "ssim", "lowres_psnr"),
    "segmentation": ("miou",),
    # "pck" is the paper's, at 0.2 diagonals. At 32 px that is 4 to 5 pixels: pictures of other people reach .8 of it.
    "pose": ("pck_0.1", "pck", "pck_0.05"),
    "depth": ("depth_rmse", "aligned_depth_rmse"),
}
# Tasks whose condition only a network can read back from a picture.
ESTIMATED = ("pose", "depth")
# The other measures grow with fidelity.
LOWER_IS_BETTER = frozenset({"depth_rmse", "aligned_depth_rmse"})

# What measures need to know of the examples beside their pictures -> arrays by name.
Truth = Mapping[str, np.ndarray]
# Task -> what reads its condition back from uint8 (n, H, W, 3): pose (n, 18, 3), or n arrays (people, 18, 3), in pixels
# with confidence; depth (n, H, W), inverse depth. `evaluation.estimators` and `evaluation.local_networks` have such.
Estimators = Mapping[str, Callable[[np.ndarray], np.ndarray]]
_NOTHING = MappingProxyType({})


def measures(task: str) -> tuple[str, ...]:
    """Names of the task's measures, those of a composed task "a+b" as "a/measure".

    Raises:
      ValueError: an unknown task.
    """
    parts = task.split("+")
    for part in parts:
        if part not in MEASURES:
            raise ValueError(f"No fidelity measure for the condition '{part}': there are {', '.join(MEASURES)}.")
    return MEASURES[task] if len(parts) == 1 else tuple(f"{part}/{name}" for part in parts for name in MEASURES[part])


def lower_is_better(measure: str) -> bool:
    """Whether a measure falls as fidelity grows; a composed task's part may stand before it: "depth/depth_rmse"."""
    return measure.rpartition("/")[2] in LOWER_IS_BETTER


def fidelity(
    task: str,
    samples: np.ndarray,
    references: np.ndarray,
    conditions: np.ndarray | Mapping[str, np.ndarray],
    truth: Truth = _NOTHING,
    estimators: Estimators = _NOTHING,
) -> dict[str, float]:
    """The task's `measures` over all examples.

    Args:
      task: one of MEASURES, or several joined by "+".
      samples: uint8 (n, H, W, 3).
      references: the real pictures, likewise.
      conditions: likewise; of a composed task its parts' conditions by name.
      truth: what some tasks compare with: `keypoints` float32 (n, 18, 3) for pose; `depth` float32 (n, H, W), distance
        above 0, for depth.
      estimators: task -> what reads pose or depth off the samples; for a task that has none here, the network that was
        fitted to the figures of the samples' size.

    Raises:
      ValueError: an unknown task, a missing truth, or no estimator for pictures of this size.
    """
    names = measures(task)
    if "+" in task:
        return _composed_fidelity(task.split("+"), samples, references, conditions, truth, estimators)
    if task == "lineart":
        return mean_line_f1(samples, conditions)
    if task == "lowres":
        found = {"psnr": psnr, "ssim": ssim, "lowres_psnr": lowres_psnr}
        return {name: float(np.mean(found[name](samples, references))) for name in names}
    if task == "segmentation":
        return {"miou": visible_miou(samples, references)}
    if task == "pose":
        keypoints = _true(truth, "keypoints", task)
        detected = _estimator(task, samples, estimators)(samples)
        alphas = {"pck_0.05": 0.05, "pck_0.1": 0.1, "pck": 0.2}
        return {name: pck(detected, keypoints, alphas[name]) for name in names}
    wanted = 1.0 / np.asarray(_true(truth, "depth", task), np.float64)
    seen = np.asarray(_estimator(task, samples, estimators)(samples))
    errors = {"depth_rmse": depth_rmse, "aligned_depth_rmse": aligned_depth_rmse}
    return {name: float(np.mean(errors[name](seen, wanted))) for name in names}


def _composed_fidelity(parts, samples, references, conditions, truth, estimators) -> dict[str, float]:
    if not isinstance(conditions, Mapping) or set(conditions) != set(parts):
        given = ", ".join(conditions) if isinstance(conditions, Mapping) else "one array"
        raise ValueError(f"Task '{'+'.join(parts)}' takes one condition a part, by name, but was given {given}.")
    return {
        f"{part}/{name}": value
        for part in parts
        for name, value in fidelity(part, samples, references, conditions[part], truth, estimators).items()
    }


def _true(truth: Truth, name: str, task: str) -> np.ndarray:
    if name not in truth:
        raise ValueError(
            f"The fidelity to '{task}' is measured against the examples' true '{name}', which truth does not hold: use "
            "a data set that has it, as the figures have."
        )
    return truth[name]


def _estimator(task: str, samples: np.ndarray, estimators: Estimators) -> Callable[[np.ndarray], np.ndarray]:
    if task in estimators:
        return estimators[task]
    # Here and not above: the other tasks need no networks.
    from lisa_jax.evaluation.estimators import load_estimator

    return load_estimator(task, samples.shape[1])
