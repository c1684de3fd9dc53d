"""The condition of an example, of a clip frame by frame."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lisa_jax.data.conditions.check import check_condition

# What a clip has of each of its frames.
_OF_FRAMES = ("image", "lineart", "labels", "keypoints", "depth")


def condition_of(
    function: Callable[[Mapping[str, Any]], np.ndarray],
    example: Mapping[str, Any],
    channels: int | None = None,
    *,
    name: str,
    where: str,
) -> np.ndarray:
    """What the function of a condition makes of an example.

    Args:
      function: see `registry.get_condition`.
      example: its `image` is uint8 (H, W, 3), or of a clip (F, H, W, 3).
      channels: see `check_condition`; the frames of a clip have all the same.
      name: of the condition.
      where: the example, for the messages.

    Returns:
      uint8 (H, W, channels), or (F, H, W, channels).
    Raises:
      ValueError: it is no condition, see `check_condition`.
    """
    if example["image"].ndim == 3:
        size = example["image"].shape[:2]
        return check_condition(np.asarray(function(example)), size, channels, name=name, where=where)
    made: list[np.ndarray] = []
    for number in range(len(example["image"])):
        frame = {**example, **{field: example[field][number] for field in _OF_FRAMES if field in example}}
        made.append(condition_of(function, frame, channels, name=name, where=f"{where}, frame {number}"))
        channels = made[0].shape[-1]
    return np.stack(made)
