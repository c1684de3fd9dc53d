"""Scenes of a clip: a person who moves from one pose to another, before a camera that stands still."""

from collections.abc import Mapping

import numpy as np

from lisa_jax.data.embedded.figures.body import Clothes, body_shapes, joint_depths
from lisa_jax.data.embedded.figures.poses import POSES
from lisa_jax.data.embedded.figures.rendering import Scene
from lisa_jax.data.embedded.figures.scenes import (
    SPLITS,
    WITHOUT_SKIRT,
    foot_contacts,
    sample_camera,
    sample_clothes,
    sample_room,
)
from lisa_jax.data.embedded.figures.skeleton import Angles, Skeleton, sample_angles, sample_body, skeleton_of
from lisa_jax.data.embedded.figures.solids import Solid, sample_solid

# Nobody sits down or stands up, for a seat has to be under the hips in every frame.
MOVING_POSES = tuple(pose for pose in POSES if pose != "sitting")
# Of the largest turn from the first frame to the last, in degrees.
_TURN = 25
# Tells these draws from those of the pictures.
_CLIPS = 2


def sample_clip(split: str, index: int, frames: int) -> tuple[Scene, ...]:
    """The scenes of that clip of a split, one a frame; every number gives one motion, and always the same.

    Angles of the joints go from one pose to another along (1 - cos(pi s)) / 2, s from 0 at the first frame to 1 at the
    last: the motion begins and ends at rest. More frames show the same motion in smaller steps. Person, clothes, room,
    solid, light and camera stay.
    """
    rng = np.random.default_rng([_CLIPS, SPLITS.index(split), index])
    first, last = (str(pose) for pose in rng.choice(MOVING_POSES, 2, replace=False))
    clothes, dressed = sample_clothes(rng, stiff=first in WITHOUT_SKIRT or last in WITHOUT_SKIRT)
    people = _sample_motion(rng, first, last, frames)
    # Behind the person, where no limb comes.
    solids = [sample_solid(rng, "in front of", people[0])] if rng.random() < 0.5 else []
    bodies = [body_shapes(person, clothes) for person in people]
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.5, 1.1), rng.uniform(-1.1, -0.6)])
    wall_colour, floor_colour = sample_room(rng)
    camera = sample_camera(rng, np.concatenate([person.keypoints for person in people]), people[0].height)
    shapes = [shape for body in bodies for shape in body] + [solid.shape for solid in solids]
    behind = max([0.6, *(shape.corners()[:, 2].max() for shape in shapes)])
    kept = {
        "camera": camera,
        "wall_z": behind + rng.uniform(0.05, 1.2),
        "wall_colour": wall_colour,
        "floor_colour": floor_colour,
        "light": light / np.linalg.norm(light),
        "ambient": rng.uniform(0.48, 0.62),
        "diffuse": rng.uniform(0.4, 0.62),
        "caption": f"a person in {dressed} first {first} and then {last}"
        + "".join(f" in front of {solid.name}" for solid in solids),
        "pose": last,
    }
    return tuple(_scene(person, clothes, solids, kept) for person in people)


def _sample_motion(rng: np.random.Generator, first: str, last: str, frames: int) -> list[Skeleton]:
    body = sample_body(rng, rng.uniform(1.5, 1.9))
    start, end = (sample_angles(rng, POSES[pose]) for pose in (first, last))
    yaw = np.deg2rad(np.clip(rng.normal(0, 20), -40, 40))
    turn = np.deg2rad(rng.uniform(-_TURN, _TURN))
    shares = (1 - np.cos(np.pi * np.linspace(0, 1, frames))) / 2
    return [skeleton_of(body, _between(start, end, share), yaw + share * turn) for share in shares]


def _between(start: Angles, end: Angles, share: float) -> Angles:
    def limbs(first: Mapping[str, np.ndarray], last: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {side: first[side] + share * (last[side] - first[side]) for side in first}

    trunk = start.trunk + share * (end.trunk - start.trunk)
    return Angles(trunk, limbs(start.arms, end.arms), limbs(start.legs, end.legs))


def _scene(person: Skeleton, clothes: Clothes, solids: list[Solid], kept: Mapping) -> Scene:
    return Scene(
        shapes=(*body_shapes(person, clothes), *(solid.shape for solid in solids)),
        contacts=np.array([*foot_contacts(person), *(solid.contact for solid in solids)]),
        joints=person.keypoints,
        joint_depths=joint_depths(person),
        **kept,
    )
