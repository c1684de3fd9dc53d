"""How large a prompted picture is: as asked, or of its condition's aspect ratio and about the area of training."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable
from typing import Any

Size = tuple[int, int]

# Longer side over shorter one: beyond, little of what was trained is like it.
MOST_RATIO = 4.0
MOST_PIXELS = 4096
# Share of a side that may be cut off for the sake of the family's multiples without a word.
QUIET_SHARE = 0.02


@dataclasses.dataclass(frozen=True)
class SizeText:
    """The kind of text that says a size: "96x128", or "96" for both sides; see `experiments.kinds`."""

    def takes(self, value: Any) -> bool:
        """Whether the value is such a text, within bounds."""
        found = isinstance(value, str) and re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", value)
        return bool(found) and all(1 <= side <= MOST_PIXELS for side in size_of(value))

    def __str__(self) -> str:
        return f"HEIGHTxWIDTH in pixels, or one number for both, from 1 to {MOST_PIXELS}"


def size_of(text: str) -> Size:
    """(height, width) of a text that `SizeText` takes."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Which size each picture gets.

    Attributes:
      trained: (height, width) of the examples in training.
      shape: the latents' of a size, which raises ValueError for one that does not divide; see `LatentSpace`.
      asked: (height, width) for all, or None.
    """

    trained: Size
    shape: Callable[..., tuple[int, ...]]
    asked: Size | None = None

    def __post_init__(self) -> None:
        if self.asked is not None:
            self.shape(*self.asked)

    def of(self, picture: Size) -> Size:
        """The size for a condition of (height, width)."""
        if self.asked is not None:
            return self.asked
        ratio = min(max(picture[1] / picture[0], 1 / MOST_RATIO), MOST_RATIO)
        area = math.prod(self.trained)
        exact = math.sqrt(area / ratio), math.sqrt(area * ratio)
        steps = (self._step(1, 0), self._step(0, 1))
        sides = (
            {step * max(1, round_(side / step)) for round_ in (math.floor, math.ceil)}
            for side, step in zip(exact, steps, strict=True)
        )

        def miss(size: Size) -> tuple[float, float]:
            height, width = size
            return round(abs(math.log(width / height / ratio)), 9), abs(math.log(height * width / area))

        return min(itertools.product(*sides), key=miss)

    def _step(self, *direction: int) -> int:
        """The multiples that a side comes in: the least change that the trained size allows."""
        for step in range(1, max(self.trained) + 1):
            try:
                self.shape(*(side + step * part for side, part in zip(self.trained, direction, strict=True)))
            except ValueError:
                continue
            return step
        return max(self.trained)


def cropped_to(picture: Size, size: Size) -> Size | None:
    """What of a picture of (height, width) is used for a size, where a fair share is not."""
    scale = min(picture[0] / size[0], picture[1] / size[1])
    used = round(scale * size[0]), round(scale * size[1])
    lost = max(1 - part / whole for part, whole in zip(used, picture, strict=True))
    return used if lost > QUIET_SHARE else None
