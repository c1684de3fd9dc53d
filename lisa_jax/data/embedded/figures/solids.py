"""Simple solids beside, behind and in front of a person."""

import dataclasses

import numpy as np

from lisa_jax.data.embedded.figures.body import PART
from lisa_jax.data.embedded.figures.colours import NAMED, near, with_article
from lisa_jax.data.embedded.figures.geometry import rotation_y
from lisa_jax.data.embedded.figures.shapes import Colour, Shape, box, ellipsoid, frustum
from lisa_jax.data.embedded.figures.skeleton import SIDES, Skeleton

_KINDS = ("box", "ball", "cylinder", "cone")
# Where the person is, seen from the solid.
RELATIONS = ("beside", "behind", "in front of")


@dataclasses.dataclass(frozen=True)
class Solid:
    """A solid that stands on the floor.

    Attributes:
      shape: what is seen.
      contact: x, z and radius of its soft shadow on the floor.
      name: as in captions: "a green ball".
    """

    shape: Shape
    contact: tuple[float, float, float]
    name: str


def sample_solid(rng: np.random.Generator, relation: str, skeleton: Skeleton) -> Solid:
    """A solid so that the person is "beside", "behind" or "in front of" it."""
    kind, colour = str(rng.choice(_KINDS)), str(rng.choice(list(NAMED)))
    side = rng.choice([-1, 1])
    if relation == "beside":
        size, z = rng.uniform(0.16, 0.28), rng.uniform(-0.25, 0.35)
        # Next to the legs, for arms may be spread above it.
        legs = [skeleton.points[f"{leg} {part}"][0] for leg in SIDES for part in ("knee", "toes")]
        edge = max(legs) if side > 0 else min(legs)
        x = edge + side * (size + rng.uniform(0.1, 0.3))
    elif relation == "behind":
        size = rng.uniform(0.12, 0.2)
        z = rng.uniform(-0.4, -0.25) + min(skeleton.points[f"{leg} toes"][2] for leg in SIDES)
        across = skeleton.keypoints[:, 0]
        x = rng.uniform(across.min(), across.max())
    else:
        size, z, x = rng.uniform(0.2, 0.36), rng.uniform(0.6, 0.9), side * rng.uniform(0.15, 0.6)
    tall = rng.uniform(1.0, 1.8) * (1.5 if relation == "in front of" else 1.0)
    paint, turn = near(rng, NAMED[colour]), rotation_y(rng.uniform(0, np.pi / 2))
    shape = _shape(kind, np.array([x, 0.0, z]), size, tall, turn, paint)
    return Solid(shape, (x, z, 1.25 * size), with_article(f"{colour} {kind}"))


def sample_seat(rng: np.random.Generator, skeleton: Skeleton) -> Solid:
    """A box under the hips and behind them, so that shins hang free."""
    hips = skeleton.points["hips"]
    colour = str(rng.choice(["brown", "white", "grey", "black"]))
    half_height = (hips[1] - 0.075) / 2
    centre = skeleton.turn @ [0.0, 0.0, 0.05] + np.array([hips[0], half_height, hips[2]])
    shape = box(centre, (0.24, half_height, 0.2), skeleton.turn, near(rng, NAMED[colour]), PART["solid"])
    return Solid(shape, (centre[0], centre[2], 0.35), with_article(f"{colour} seat"))


def _shape(kind: str, place: np.ndarray, size: float, tall: float, turn: np.ndarray, paint: Colour) -> Shape:
    """A solid that stands at `place`, about 2 * size wide; boxes, cylinders and cones are `tall` times as high."""
    up, label = np.array([0.0, 1.0, 0.0]), PART["solid"]
    if kind == "ball":
        return ellipsoid(place + size * up, (size,) * 3, np.eye(3), paint, label)
    if kind == "box":
        half = 0.85 * size
        return box(place + half * tall * up, (half, half * tall, half), turn, paint, label)
    radii = (size, 0.0) if kind == "cone" else (0.9 * size, 0.9 * size)
    return frustum(place, place + 2 * size * tall * up, radii, paint, label)
