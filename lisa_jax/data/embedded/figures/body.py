"""The body around a skeleton: its parts, its clothes and their shapes."""

import dataclasses

import numpy as np

from lisa_jax.data.conditions.openpose import KEYPOINTS
from lisa_jax.data.embedded.figures.shapes import Colour, Shape, capsule, ellipsoid, frustum
from lisa_jax.data.embedded.figures.skeleton import SHOE, SIDES, Skeleton

# Part classes: the labels of a picture are indices into these. A forearm has its hand, a shin its foot.
PARTS = (
    "wall",
    "floor",
    "solid",
    "head",
    "hair",
    "torso",
    "right upper arm",
    "right forearm",
    "left upper arm",
    "left forearm",
    "right thigh",
    "right shin",
    "left thigh",
    "left shin",
    "skirt",
)
PART = {name: number for number, name in enumerate(PARTS)}

_DARK = (0.1, 0.08, 0.08)
# How deep key points lie under the surface of their own part, for a thickness of 1; feet and hands are part of it.
_DEPTHS = {"neck": 0.05, "shoulder": 0.05, "elbow": 0.034, "wrist": 0.05, "hip": 0.075, "knee": 0.045, "ankle": 0.1}


@dataclasses.dataclass(frozen=True)
class Clothes:
    """What a person wears and looks like; colours 0 to 1.

    Attributes:
      sleeves: 0 none, 1 to the elbow, 2 to the wrist.
      legwear: "trousers", "shorts", "skirt" or "dress".
      hair_style: "short", "long", "bun" or "bald".
    """

    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    sleeves: int
    legwear: str
    hair_style: str

    @property
    def bare_thighs(self) -> bool:
        return self.legwear in ("skirt", "dress")


def joint_depths(skeleton: Skeleton) -> np.ndarray:
    """How deep each of the 18 key points lies under the surface of its own part, metres (18,)."""
    return np.array([_DEPTHS.get(name.split()[-1], 0.0) * skeleton.thickness for name in KEYPOINTS])


def body_shapes(skeleton: Skeleton, clothes: Clothes) -> tuple[Shape, ...]:
    """The shapes of a person."""
    limbs = [shape for side in SIDES for shape in (*_arm(skeleton, clothes, side), *_leg(skeleton, clothes, side))]
    skirt = [_skirt(skeleton, clothes)] if clothes.bare_thighs else []
    return (*_trunk(skeleton, clothes), *limbs, *skirt, *_head(skeleton, clothes))


def _trunk(skeleton: Skeleton, clothes: Clothes) -> list[Shape]:
    points, height, thick, label = skeleton.points, skeleton.height, skeleton.thickness, PART["torso"]
    side, up = skeleton.torso[:, 0], skeleton.torso[:, 1]
    waist = points["hips"] + 0.01 * height * up
    chest = points["neck"] - 0.03 * height * up
    width = 0.98 * skeleton.shoulder_width
    pelvis = (0.108 * thick, 0.07 * height, 0.075 * thick)
    return [
        frustum(waist, chest, (0.098 * thick, width), clothes.top, label, side=side, flatness=0.62),
        capsule(points["right shoulder"], points["left shoulder"], 0.047 * thick, clothes.top, label),
        capsule(points["neck"], points["neck"] + 0.05 * height * up, 0.034 * height, clothes.skin, label),
        ellipsoid(points["hips"], pelvis, skeleton.turn, clothes.bottom, label),
    ]


def _arm(skeleton: Skeleton, clothes: Clothes, side: str) -> list[Shape]:
    shoulder, elbow, wrist, hand = (skeleton.points[f"{side} {p}"] for p in ("shoulder", "elbow", "wrist", "hand"))
    upper = clothes.top if clothes.sleeves > 0 else clothes.skin
    lower = clothes.top if clothes.sleeves > 1 else clothes.skin
    forearm = PART[f"{side} forearm"]
    return [
        capsule(shoulder, elbow, 0.043 * skeleton.thickness, upper, PART[f"{side} upper arm"]),
        capsule(elbow, wrist, 0.038 * skeleton.thickness, lower, forearm),
        ellipsoid(hand, (0.041 * skeleton.height,) * 3, np.eye(3), clothes.skin, forearm),
    ]


def _leg(skeleton: Skeleton, clothes: Clothes, side: str) -> list[Shape]:
    hip, knee, ankle, toes = (skeleton.points[f"{side} {p}"] for p in ("hip", "knee", "ankle", "toes"))
    thigh = clothes.skin if clothes.bare_thighs else clothes.bottom
    shin = clothes.bottom if clothes.legwear == "trousers" else clothes.skin
    thigh_radius = (0.046 if clothes.bare_thighs else 0.057) * skeleton.thickness
    label = PART[f"{side} shin"]
    return [
        capsule(hip, knee, thigh_radius, thigh, PART[f"{side} thigh"]),
        capsule(knee, ankle, 0.046 * skeleton.thickness, shin, label),
        capsule(ankle, toes, SHOE * skeleton.height, clothes.shoes, label),
    ]


def _skirt(skeleton: Skeleton, clothes: Clothes) -> Shape:
    points, thick = skeleton.points, skeleton.thickness
    hips, right, left = points["hips"], points["right knee"], points["left knee"]
    hem = hips + 0.8 * ((right + left) / 2 - hips)
    waist = hips + np.array([0.0, 0.03 * skeleton.height, 0.0])
    # Wide enough for both thighs.
    wide = max(0.45 * float(np.linalg.norm(right - left)) + 0.08 * thick, 0.13 * thick)
    side = skeleton.turn[:, 0]
    return frustum(hem, waist, (wide, 0.1 * thick), clothes.bottom, PART["skirt"], side=side, flatness=0.75)


def _head(skeleton: Skeleton, clothes: Clothes) -> list[Shape]:
    points, size, face = skeleton.points, skeleton.head_size, skeleton.face
    label, hair = PART["head"], PART["hair"]

    def at(right: float, up: float, back: float) -> np.ndarray:
        return points["head"] + face @ [right * size, up * size, back * size]

    def blob(centre: np.ndarray, radii: tuple[float, float, float], colour: Colour, part: int) -> Shape:
        return ellipsoid(centre, tuple(radius * size for radius in radii), face, colour, part)

    shapes = [blob(points["head"], (0.067, 0.083, 0.074), clothes.skin, label)]
    shapes += [blob(points[f"{side} eye"], (0.011,) * 3, _DARK, label) for side in SIDES]
    shapes += [blob(points["nose"], (0.013,) * 3, clothes.skin, label)]
    shapes += [blob(points[f"{side} ear"], (0.014,) * 3, clothes.skin, label) for side in SIDES]
    if clothes.hair_style != "bald":
        shapes.append(blob(at(0.0, 0.03, 0.026), (0.076, 0.075, 0.078), clothes.hair, hair))
    if clothes.hair_style == "long":
        shapes.append(blob(at(0.0, -0.055, 0.045), (0.083, 0.11, 0.05), clothes.hair, hair))
    elif clothes.hair_style == "bun":
        shapes.append(blob(at(0.0, 0.115, 0.02), (0.036,) * 3, clothes.hair, hair))
    return shapes
