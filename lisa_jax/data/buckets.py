"""Static aspect-ratio buckets: a fixed list of picture sizes of about equal area.

A compiled training step takes one picture size; photographs come in many. Each photograph is resized and cropped to
the bucket nearest to its own aspect ratio, so that little is cut away and only as many steps are compiled as there
are buckets (the idea of NovelAI's aspect-ratio bucketing, with a list that does not depend on the data).
"""

import math
from collections.abc import Sequence

Size = tuple[int, int]


def make_buckets(base_size: int, step: int = 64, max_ratio: float = 2.0) -> tuple[Size, ...]:
    """Sizes (height, width) of about base_size**2 pixels, from tall over square to wide.

    For each width that is a multiple of `step` the height is the multiple of `step` that brings the area nearest to
    base_size**2, and likewise with height and width exchanged; (h, w) is in the list exactly when (w, h) is. Sizes
    whose longer side is more than `max_ratio` times the shorter one are left out; (base_size, base_size) is always in.

    Args:
      base_size: side of the square bucket in pixels.
      step: every side is a multiple of it; 64 suits an 8x VAE and a UNet with three downsamplings.
      max_ratio: the greatest longer side over shorter side; 1 gives the square bucket only.

    Raises:
      ValueError: base_size is not a positive multiple of step, or max_ratio is below 1.
    """
    if step < 1 or base_size < step or base_size % step:
        raise ValueError(f"--image_size={base_size} must be a multiple of {step}, as all sides of --buckets are.")
    if max_ratio < 1:
        raise ValueError(f"max_ratio is {max_ratio}, but must be at least 1.")
    area = base_size**2
    buckets = {(base_size, base_size)}
    for longer in range(base_size + step, int(base_size * max_ratio) + 1, step):
        shorter = max(step, round(area / longer / step) * step)
        if longer <= max_ratio * shorter:
            buckets |= {(longer, shorter), (shorter, longer)}
    return tuple(sorted(buckets, key=lambda size: (size[1] / size[0], size)))


def nearest_bucket(height: int, width: int, buckets: Sequence[Size]) -> Size:
    """The bucket whose aspect ratio is nearest to that of a picture: least |log ratio|, the first one of equals.

    Ratios are compared by logarithm so that a picture and its transposed twin are treated alike.

    Raises:
      ValueError: there are no buckets, or a side is not positive.
    """
    if not buckets:
        raise ValueError("There are no buckets to choose from.")
    if height < 1 or width < 1:
        raise ValueError(f"A picture of {width}x{height} has no aspect ratio.")
    ratio = math.log(width / height)
    return min(buckets, key=lambda size: abs(math.log(size[1] / size[0]) - ratio))
