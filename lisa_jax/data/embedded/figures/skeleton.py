"""Where the joints of a person are: proportions, angles drawn from a pose, and the frames of trunk and head."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from lisa_jax.data.conditions.openpose import KEYPOINTS
from lisa_jax.data.embedded.figures.geometry import rotation_x, rotation_y, rotation_z
from lisa_jax.data.embedded.figures.poses import LimbAngles, Pose

# A side's sign is that of its x where the person faces the camera: the person's right is on the left of the picture.
SIDES = {"right": -1, "left": 1}

# Points of the face from the head's centre, for a height of 1.
_FACE = {
    "nose": (0.0, -0.012, -0.078),
    "right eye": (-0.026, 0.014, -0.066),
    "left eye": (0.026, 0.014, -0.066),
    "right ear": (-0.067, 0.0, 0.004),
    "left ear": (0.067, 0.0, 0.004),
}
# Radius of a shoe, for a height of 1.
SHOE = 0.036


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A person whose lower foot stands on the floor and whose hips are above x = z = 0.

    Attributes:
      points: name -> (3,) in the world: the 18 key points (`conditions.openpose.KEYPOINTS`), and "hips" (between
        the hip joints), "head" (its centre), "right hand", "left hand", "right toes", "left toes".
      height: metres, standing.
      head_size: the height that the head would suit.
      build: thickness; 1 is average.
      shoulder_width: metres from the neck to a shoulder.
      turn, torso, face: (3, 3), columns: the axes (to the person's left, up, backwards) of hips, trunk and head.
    """

    points: Mapping[str, np.ndarray]
    height: float
    head_size: float
    build: float
    shoulder_width: float
    turn: np.ndarray
    torso: np.ndarray
    face: np.ndarray

    @property
    def keypoints(self) -> np.ndarray:
        """(18, 3) in the world, in OpenPose's order."""
        return np.array([self.points[name] for name in KEYPOINTS])

    @property
    def thickness(self) -> float:
        """What radii of the body are in proportion to, metres."""
        return self.height * self.build


@dataclasses.dataclass(frozen=True)
class Body:
    """Proportions of a person: see `Skeleton`; `hip_width` is metres from between the hip joints to one of them."""

    height: float
    build: float
    shoulder_width: float
    hip_width: float
    head_size: float


@dataclasses.dataclass(frozen=True)
class Angles:
    """How the joints of a person are bent, in radians.

    Attributes:
      trunk: (5,): lean to the person's left and bend forwards; of the head its nod, its tilt and where it looks.
      arms, legs: side -> (4,), away from the body and forward, of the upper and of the lower part.
    """

    trunk: np.ndarray
    arms: Mapping[str, np.ndarray]
    legs: Mapping[str, np.ndarray]


def sample_skeleton(rng: np.random.Generator, pose: Pose, height: float, yaw: float) -> Skeleton:
    """A person of that height (metres), turned by `yaw` (radians) from facing the camera, angles drawn of `pose`."""
    body = sample_body(rng, height)
    return skeleton_of(body, sample_angles(rng, pose), yaw)


def sample_body(rng: np.random.Generator, height: float) -> Body:
    """Proportions of a person of that height, metres."""
    build = rng.uniform(0.88, 1.14)  # slim to stout
    shoulder_width = 0.118 * height * rng.uniform(0.92, 1.08)
    hip_width = 0.062 * height * rng.uniform(0.92, 1.1)
    # Larger than life, so that a face is a few pixels wide in small pictures.
    head_size = height * rng.uniform(1.05, 1.2)
    return Body(height, build, shoulder_width, hip_width, head_size)


def sample_angles(rng: np.random.Generator, pose: Pose) -> Angles:
    """Angles within the ranges of a pose."""
    sides = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    lean = np.deg2rad(rng.uniform(*pose.sideways)) * SIDES[sides[0]]
    bend = np.deg2rad(rng.uniform(*pose.forward))
    head = np.deg2rad([rng.uniform(-8, 10), rng.uniform(-9, 9), rng.uniform(-28, 28)])
    arms = {side: _draw(rng, angles) for side, angles in zip(sides, pose.arms, strict=True)}
    legs = {side: _draw(rng, angles) for side, angles in zip(sides, pose.legs, strict=True)}
    return Angles(np.array([lean, bend, *head]), arms, legs)


def skeleton_of(body: Body, angles: Angles, yaw: float) -> Skeleton:
    """A person whose joints are bent so, turned by `yaw` (radians) from facing the camera."""
    height, head_size = body.height, body.head_size
    lean, bend, nod, tilt, look = angles.trunk
    turn = rotation_y(yaw)
    torso = turn @ rotation_z(-lean) @ rotation_x(-bend)
    face = torso @ rotation_y(look) @ rotation_z(tilt) @ rotation_x(-nod)

    neck = torso @ [0.0, 0.29 * height, 0.0]
    head = neck + face @ [0.0, 0.115 * head_size, -0.012 * height]
    points = {"hips": np.zeros(3), "neck": neck, "head": head}
    points |= {name: head + face @ (np.array(place) * head_size) for name, place in _FACE.items()}
    for side in SIDES:
        points |= _limbs(body, angles, side, neck, torso, turn)
    sole = min(points[f"{side} {part}"][1] for side in SIDES for part in ("ankle", "toes")) - SHOE * height
    points = {name: point - np.array([0.0, sole, 0.0]) for name, point in points.items()}
    return Skeleton(points, height, head_size, body.build, body.shoulder_width, turn, torso, face)


def _limbs(
    body: Body, angles: Angles, side: str, neck: np.ndarray, torso: np.ndarray, turn: np.ndarray
) -> dict[str, np.ndarray]:
    """The points of one side's arm and leg, with the hips at the origin."""
    sign, height = SIDES[side], body.height
    shoulder = neck + torso @ [sign * body.shoulder_width, -0.015 * height, 0.0]
    upper, lower = _directions(sign, angles.arms[side], torso)
    elbow = shoulder + 0.165 * height * upper
    wrist = elbow + 0.145 * height * lower
    hip = turn @ [sign * body.hip_width, 0.0, 0.0]
    thigh, shin = _directions(sign, angles.legs[side], turn)
    knee = hip + 0.24 * height * thigh
    ankle = knee + 0.225 * height * shin
    return {
        f"{side} shoulder": shoulder,
        f"{side} elbow": elbow,
        f"{side} wrist": wrist,
        f"{side} hand": wrist + 0.03 * height * lower,
        f"{side} hip": hip,
        f"{side} knee": knee,
        f"{side} ankle": ankle,
        f"{side} toes": ankle + turn @ [sign * 0.025 * height, -0.012 * height, -0.07 * height],
    }


def _draw(rng: np.random.Generator, angles: LimbAngles) -> np.ndarray:
    return np.deg2rad([rng.uniform(*limits) for limits in angles])


def _directions(sign: int, angles: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along the upper and the lower part of a limb."""
    away, ahead = angles[::2], angles[1::2]
    vectors = np.stack([sign * np.sin(away) * np.cos(ahead), -np.cos(away) * np.cos(ahead), -np.sin(ahead)], axis=1)
    upper, lower = vectors @ frame.T
    return upper, lower
