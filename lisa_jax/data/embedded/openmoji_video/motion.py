"""Where a drawing is in each frame of its clip."""

import dataclasses

import numpy as np

# Side of OpenMoji's pictures in their own units.
SIDE = 72
_SIZES = (0.62, 0.82)
# Degrees.
_TURN = 20


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a drawing is: its centre in units of a picture of `SIDE`, its turn in degrees clockwise, and its size."""

    x: float
    y: float
    turn: float
    size: float

    def transform(self) -> str:
        """As SVG writes what takes the drawing from the whole picture to there."""
        return f"translate({self.x} {self.y}) rotate({self.turn}) scale({self.size}) translate({-SIDE / 2} {-SIDE / 2})"


def sample_motion(rng: np.random.Generator, frames: int) -> tuple[Place, ...]:
    """Places, one a frame: across the middle of the picture in a straight line, turning, nearer or farther.

    All of it evenly, so that more frames show the same motion in smaller steps. The drawing's own square, unturned,
    stays within the picture.
    """
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.0)
    turns, sizes = rng.uniform(-_TURN, _TURN, 2), rng.uniform(*_SIZES, 2)
    towards = np.array([np.cos(angle), np.sin(angle)])
    # From the middle to where the larger square meets the picture's edge.
    reach = SIDE / 2 * (1 - sizes.max()) / np.abs(towards).max()
    ends = SIDE / 2 + length * reach * np.outer([-1, 1], towards)
    places = np.linspace([*ends[0], turns[0], sizes[0]], [*ends[1], turns[1], sizes[1]], frames)
    return tuple(Place(*map(float, place)) for place in places)


def motion_in_words(places: tuple[Place, ...]) -> str:
    """What a caption says of a motion; left and right are alike, so that it is true of mirrored clips."""
    first, last = places[0], places[-1]
    across, down = abs(last.x - first.x), last.y - first.y
    way = "moving sideways" if across > abs(down) else "sinking" if down > 0 else "rising"
    return f"{way} and {'coming nearer' if last.size > first.size else 'going away'}"
