"""Scenes of the figures data set: a person, up to two solids, a room and a camera, from (split, index) alone."""

import colorsys

import numpy as np

from lisa_jax.data.embedded.figures.body import Clothes, body_shapes, joint_depths
from lisa_jax.data.embedded.figures.colours import HAIRS, NAMED, SKINS, near, with_article
from lisa_jax.data.embedded.figures.geometry import rotation_x, rotation_y
from lisa_jax.data.embedded.figures.poses import POSES
from lisa_jax.data.embedded.figures.rendering import Camera, Scene
from lisa_jax.data.embedded.figures.shapes import Colour
from lisa_jax.data.embedded.figures.skeleton import SIDES, Skeleton, sample_skeleton
from lisa_jax.data.embedded.figures.solids import RELATIONS, sample_seat, sample_solid

SPLITS = ("train", "test")

# Skirts are stiff: they suit legs that hang.
WITHOUT_SKIRT = ("sitting", "crouching", "kicking", "lifting a knee", "dancing")
# A foot higher up than this casts no shadow to speak of, in metres.
_NEAR_FLOOR = 0.15


def sample_scene(split: str, index: int) -> Scene:
    """The scene of that number of a split; every number gives one, and always the same."""
    rng = np.random.default_rng([SPLITS.index(split), index])
    pose = str(rng.choice(list(POSES)))
    clothes, dressed = sample_clothes(rng, stiff=pose in WITHOUT_SKIRT)
    # Facing the camera, roughly.
    height, yaw = rng.uniform(1.5, 1.9), np.deg2rad(np.clip(rng.normal(0, 24), -50, 50))
    skeleton = sample_skeleton(rng, POSES[pose], height, yaw)
    seats = [sample_seat(rng, skeleton)] if pose == "sitting" else []
    count = int(rng.choice(3, p=[0.3, 0.5, 0.2]))
    relations = [str(name) for name in rng.choice(RELATIONS, count, replace=False, p=[0.5, 0.25, 0.25])]
    solids = [sample_solid(rng, relation, skeleton) for relation in relations]
    standing = [*seats, *solids]
    shapes = (*body_shapes(skeleton, clothes), *(solid.shape for solid in standing))
    light = np.array([rng.uniform(-0.8, 0.8), rng.uniform(0.5, 1.1), rng.uniform(-1.1, -0.6)])
    wall_colour, floor_colour = sample_room(rng)
    camera = sample_camera(rng, skeleton.keypoints, skeleton.height)
    behind = max([0.6, *(shape.corners()[:, 2].max() for shape in shapes)])
    return Scene(
        shapes=shapes,
        camera=camera,
        wall_z=behind + rng.uniform(0.05, 1.2),
        wall_colour=wall_colour,
        floor_colour=floor_colour,
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.48, 0.62),
        diffuse=rng.uniform(0.4, 0.62),
        contacts=np.array([*foot_contacts(skeleton), *(solid.contact for solid in standing)]),
        joints=skeleton.keypoints,
        joint_depths=joint_depths(skeleton),
        caption=_caption(dressed, pose, relations, [solid.name for solid in solids]),
        pose=pose,
    )


def _caption(dressed: str, pose: str, relations: list[str], names: list[str]) -> str:
    """One solid is where it is; two are near, for captions must stay short."""
    caption = f"a person in {dressed} {pose}"
    if not names:
        return caption
    return f"{caption} {relations[0] if len(names) == 1 else 'near'} {' and '.join(names)}"


def sample_clothes(rng: np.random.Generator, *, stiff: bool) -> tuple[Clothes, str]:
    """Clothes, of which none suit only legs that hang where those are `stiff`, and what a caption says of them."""
    top, bottom, shoes = (str(name) for name in rng.choice(list(NAMED), 3, replace=False))
    kinds = ["trousers", "shorts"] if stiff else ["trousers", "shorts", "skirt", "dress"]
    legwear = str(rng.choice(kinds, p=[0.65, 0.35] if stiff else [0.5, 0.2, 0.17, 0.13]))
    skin = near(rng, SKINS[rng.integers(len(SKINS))])
    hair = near(rng, HAIRS[rng.integers(len(HAIRS))])
    top_colour = near(rng, NAMED[top])
    bottom_colour = top_colour if legwear == "dress" else near(rng, NAMED[bottom])
    clothes = Clothes(
        skin=skin,
        hair=hair,
        top=top_colour,
        bottom=bottom_colour,
        shoes=near(rng, NAMED[shoes]),
        sleeves=int(rng.choice(3, p=[0.15, 0.4, 0.45])),
        legwear=legwear,
        hair_style=str(rng.choice(["short", "long", "bun", "bald"], p=[0.45, 0.35, 0.12, 0.08])),
    )
    if legwear == "dress":
        return clothes, with_article(f"{top} dress")
    below = with_article(f"{bottom} skirt") if legwear == "skirt" else f"{bottom} {legwear}"
    return clothes, f"{with_article(f'{top} shirt')} and {below}"


def foot_contacts(skeleton: Skeleton) -> list[tuple[float, float, float]]:
    """Of the feet on the floor x, z and radius of their soft shadows."""
    feet = [skeleton.points[f"{side} toes"] for side in SIDES]
    return [(foot[0], foot[2], 0.16) for foot in feet if foot[1] < _NEAR_FLOOR]


def sample_camera(rng: np.random.Generator, joints: np.ndarray, height: float) -> Camera:
    """So near that a person of that height takes most of the picture's height, or of its width where arms are spread.

    `joints` (n, 3) are in the world, of one moment or of several.
    """
    low, high = joints.min(axis=0), joints.max(axis=0)
    # Skull, soles and hands go on where the joints end.
    low = low - height * np.array([0.06, 0.06, 0.0])
    high = high + height * np.array([0.06, 0.09, 0.0])
    extent = max(high[1] - low[1], 0.95 * (high[0] - low[0]), 0.5 * height)
    share, field_of_view = rng.uniform(0.7, 0.88), np.deg2rad(rng.uniform(26, 38))
    picture = extent / share
    distance = picture / (2 * np.tan(field_of_view / 2))
    target = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, 0.0])
    target[:2] += rng.uniform(-0.35, 0.35, 2) * (picture - extent)
    downwards, sideways = np.deg2rad(rng.uniform(0, 16)), np.deg2rad(rng.uniform(-6, 6))
    axes = rotation_y(sideways) @ rotation_x(downwards)
    return Camera(target - distance * axes[:, 2], axes.T, float(field_of_view))


def sample_room(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Colours of the wall and of the floor."""
    wall = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.45), rng.uniform(0.6, 0.98))
    floor = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.4, 0.85))
    return wall, floor
