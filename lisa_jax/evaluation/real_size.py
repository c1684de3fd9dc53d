"""PSNR, LPIPS and mIoU at the real pictures' own size, which the paper's authors take: samples are enlarged to it.

The other measures are taken at the samples' size, to which the real pictures are resized.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from lisa_jax.evaluation.lpips import lpips
from lisa_jax.evaluation.measures.lowres import psnr
from lisa_jax.evaluation.measures.segmentation import NUM_CLASSES, confusion, mean_iou
from lisa_jax.evaluation.metric_networks import MetricNetworks
from lisa_jax.evaluation.tasks import name_within, parts_of

PROTOCOL = "samples resized to the real picture's own size by Pillow's bicubic filter; otherwise as at the samples'"


def measures_at_real_size(
    task: str,
    samples: Mapping[str, np.ndarray],
    real: Callable[[int], np.ndarray],
    networks: MetricNetworks | None,
) -> dict[str, dict[str, float]]:
    """Set -> measure -> value: PSNR of the task lowres, LPIPS and mIoU where there are networks for them.

    One real picture is held at a time; LPIPS compiles anew for each size.

    Args:
      task: see `tasks.task_of`.
      samples: name -> uint8 (n, h, w, 3).
      real: index of a sample -> the real picture at its own size, uint8 (H, W, 3).
      networks: those that measure LPIPS and segmentation.

    Raises:
      ValueError: none of the measures can be taken.
    """
    has_psnr = "lowres" in parts_of(task)
    segments = None if networks is None else networks.fidelity.get("segmentation")
    looks_alike = None if networks is None else networks.lpips
    if not has_psnr and segments is None and looks_alike is None:
        raise ValueError(
            f"Nothing of '{task}' is measured at the real pictures' size: PSNR is, of lowres, and with "
            "--metric_weights LPIPS and the mIoU of segmentation."
        )
    found = {name: _Sums([], [], np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)) for name in samples}
    for index in range(len(next(iter(samples.values())))):
        picture = real(index)
        for name, images in samples.items():
            sample, target = (part[None] for part in as_large(images[index], picture))
            if has_psnr:
                found[name].psnr.extend(psnr(sample, target))
            if looks_alike is not None:
                found[name].lpips.extend(lpips(looks_alike, sample, target))
            if segments is not None:
                found[name].pixels[:] += confusion(segments(sample)[0], segments(target)[0], NUM_CLASSES)
    return {name: _means(task, sums) for name, sums in found.items()}


def as_large(sample: np.ndarray, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A sample enlarged to the part of a picture that it shows, and that part: uint8 (H', W', 3) each.

    A sample shows the largest centred window of its aspect ratio, as `data.geometry.fit` cuts it.

    Raises:
      ValueError: a picture without a whole pixel in the window.
    """
    (height, width), (rows, columns) = picture.shape[:2], sample.shape[:2]
    scale = min(height / rows, width / columns)
    top, left = 0.5 * (height - scale * rows), 0.5 * (width - scale * columns)
    # Whole pixels of the picture, and of the sample what lies over them.
    first_row, first_column = math.ceil(top - 1e-6), math.ceil(left - 1e-6)
    last_row, last_column = height - first_row, width - first_column
    if last_row <= first_row or last_column <= first_column:
        raise ValueError(f"A real picture of {width}x{height} is too small to be measured at its own size.")
    box = (
        max((first_column - left) / scale, 0),
        max((first_row - top) / scale, 0),
        min((last_column - left) / scale, columns),
        min((last_row - top) / scale, rows),
    )
    size = (last_column - first_column, last_row - first_row)
    enlarged = Image.fromarray(sample).resize(size, Image.Resampling.BICUBIC, box=box)
    return np.asarray(enlarged), picture[first_row:last_row, first_column:last_column]


class _Sums(NamedTuple):
    """What was measured so far: a number a picture, and counts of pixels as `confusion` gives them."""

    psnr: list[float]
    lpips: list[float]
    pixels: np.ndarray


def _means(task: str, sums: _Sums) -> dict[str, float]:
    found = {}
    if sums.psnr:
        found[name_within(task, "lowres", "psnr")] = float(np.mean(sums.psnr))
    if sums.lpips:
        found["lpips"] = float(np.mean(sums.lpips))
    if sums.pixels.any():
        found[name_within(task, "segmentation", "miou")] = mean_iou(sums.pixels)
    return found
