"""Whether what the function of a condition has made is a condition."""

import numpy as np

from lisa_jax.media.channels import MOST_CHANNELS


def check_condition(
    condition: np.ndarray, size: tuple[int, int], channels: int | None, *, name: str, where: str
) -> np.ndarray:
    """Return what the function of a condition has made, if it is a condition.

    Args:
      condition: what it has made.
      size: (H, W) of the image.
      channels: how many other examples have; None: any number up to `MOST_CHANNELS`.
      name: of the condition.
      where: the example, for the messages.

    Raises:
      ValueError: it is not uint8 (H, W, channels).
    """
    if condition.ndim == 3 and condition.shape[:2] == tuple(size) and condition.dtype == np.uint8:
        found = condition.shape[2]
        if not 1 <= found <= MOST_CHANNELS:
            raise ValueError(
                f"{where}: condition {name!r} has {found} channels, but there may be 1 to {MOST_CHANNELS}."
            )
        if channels not in (None, found):
            raise ValueError(
                f"{where}: condition {name!r} has {found} channels, but others have {channels}: give all the same."
            )
        return condition
    raise ValueError(
        f"{where}: condition {name!r} gives {condition.dtype} {condition.shape}, but must give uint8 "
        f"({size[0]}, {size[1]}, channels)."
    )
