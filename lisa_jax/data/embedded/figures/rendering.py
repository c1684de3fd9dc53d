"""A ray caster for figures: picture, exact depth, part labels and visible key points of a scene."""

import dataclasses

import numpy as np

from lisa_jax.data.embedded.figures.shapes import Colour, Shape

WALL, FLOOR = 0, 1
# Odd, so that one of a pixel's rays goes through its centre: depth and labels are that ray's alone.
_RAYS_A_SIDE = 3
# A surface hides a joint when it is nearer than the joint's own skin by more than this: clothes and hair do not.
_HIDING_DISTANCE = 0.06


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels and the picture's centre on its axis.

    Attributes:
      position: (3,) in the world.
      rotation: (3, 3), rows: its right, its up and its axis in the world.
      field_of_view: radians from the upper to the lower edge.
    """

    position: np.ndarray
    rotation: np.ndarray
    field_of_view: float

    def directions(self, xs: np.ndarray, ys: np.ndarray, image_size: int) -> np.ndarray:
        """Rays (..., 3) through points of the picture, of length 1 along the camera's axis."""
        focal = self._focal(image_size)
        x, y = (xs - image_size / 2) / focal, (image_size / 2 - ys) / focal
        return np.stack([x, y, np.ones_like(x)], axis=-1) @ self.rotation

    def project(self, points: np.ndarray, image_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 3) of the world -> their x, y in pixels (n, 2) and their depth (n,)."""
        local = (points - self.position) @ self.rotation.T
        focal = self._focal(image_size)
        x = image_size / 2 + focal * local[:, 0] / local[:, 2]
        y = image_size / 2 - focal * local[:, 1] / local[:, 2]
        return np.stack([x, y], axis=1), local[:, 2]

    def _focal(self, image_size: int) -> float:
        return image_size / (2 * np.tan(self.field_of_view / 2))


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is rendered: shapes on a floor (y = 0) before a wall (z = wall_z), under one far light.

    Attributes:
      light: (3,), unit vector towards the light.
      ambient, diffuse: strengths of the light from everywhere and of the far one.
      contacts: (n, 3), x, z and radius of the soft shadows on the floor.
      joints: (18, 3) in the world, in OpenPose's order.
      joint_depths: (18,), how deep each lies under the surface of its own part.
      caption, pose: what it shows.
    """

    shapes: tuple[Shape, ...]
    camera: Camera
    wall_z: float
    wall_colour: Colour
    floor_colour: Colour
    light: np.ndarray
    ambient: float
    diffuse: float
    contacts: np.ndarray
    joints: np.ndarray
    joint_depths: np.ndarray
    caption: str
    pose: str


@dataclasses.dataclass(frozen=True)
class Rendering:
    """`image` uint8 (H, W, 3), `depth` float32 (H, W) along the camera's axis in metres, `labels` uint8 (H, W) and
    `keypoints` float32 (18, 3): x, y in pixels, and 1 where visible."""

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    keypoints: np.ndarray


def render(scene: Scene, image_size: int) -> Rendering:
    """Render a scene at image_size x image_size; depth and labels are those of the ray through a pixel's centre."""
    rays = image_size * _RAYS_A_SIDE
    ticks = (np.arange(rays) + 0.5) / _RAYS_A_SIDE
    directions = scene.camera.directions(*np.meshgrid(ticks, ticks), image_size)
    depth, normals, surface = cast(scene, directions)
    colours = _shade(scene, directions, depth, normals, surface)
    cells = colours.reshape(image_size, _RAYS_A_SIDE, image_size, _RAYS_A_SIDE, 3)
    image = np.round(255 * cells.mean(axis=(1, 3))).astype(np.uint8)
    centre = slice(_RAYS_A_SIDE // 2, None, _RAYS_A_SIDE)
    labels = np.array([WALL, FLOOR, *(shape.label for shape in scene.shapes)], np.uint8)[surface[centre, centre]]
    return Rendering(image, depth[centre, centre].astype(np.float32), labels, keypoints(scene, image_size))


def keypoints(scene: Scene, image_size: int) -> np.ndarray:
    """x, y and visibility of the joints, float32 (18, 3).

    A joint is hidden (0) outside the picture, or where another surface lies clearly in front of the joint's own.
    """
    points, depth = scene.camera.project(scene.joints, image_size)
    directions = scene.camera.directions(points[None, :, 0], points[None, :, 1], image_size)
    seen, _, _ = cast(scene, directions, everywhere=True)
    inside = ((points >= 0) & (points < image_size)).all(axis=1)
    visible = inside & (seen[0] > depth - scene.joint_depths - _HIDING_DISTANCE)
    return np.concatenate([points, visible[:, None]], axis=1).astype(np.float32)


def cast(
    scene: Scene, directions: np.ndarray, *, everywhere: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest surface along rays from the camera.

    Args:
      directions: (rows, columns, 3), of length 1 along the camera's axis: the rays of a whole picture in order, or any
        rays when `everywhere` is set.
      everywhere: try each shape with each ray, not only with those that its outline can hold.

    Returns:
      depth along the camera's axis, normals towards the outside, and indices: WALL, FLOOR, then the shapes from 2 on.
    """
    origin = scene.camera.position
    rows, columns = directions.shape[:2]
    with np.errstate(divide="ignore"):
        floor = np.where(directions[..., 1] < 0, -origin[1] / directions[..., 1], np.inf)
    wall = (scene.wall_z - origin[2]) / directions[..., 2]
    depth = np.minimum(floor, wall)
    surface = np.where(floor < wall, FLOOR, WALL)
    normals = np.where((floor < wall)[..., None], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0])
    for index, shape in enumerate(scene.shapes, start=2):
        where = (slice(None), slice(None)) if everywhere else _outline(scene.camera, shape, rows, columns)
        if where is None:
            continue
        part = directions[where]
        t, shape_normals = shape.hit(origin, part.reshape(-1, 3))
        nearer = t.reshape(part.shape[:2]) < depth[where]
        depth[where][nearer] = t[nearer.ravel()]
        normals[where][nearer] = shape_normals[nearer.ravel()]
        surface[where][nearer] = index
    return depth, normals, surface


def _outline(camera: Camera, shape: Shape, rows: int, columns: int) -> tuple[slice, slice] | None:
    """Rows and columns of rays that may hit the shape, or None."""
    points, depth = camera.project(shape.corners(), rows)
    if depth.min() <= 0:
        return slice(None), slice(None)
    left, top = np.floor(points.min(axis=0)).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int)
    if right <= 0 or bottom <= 0 or left >= columns or top >= rows:
        return None
    return slice(max(top, 0), bottom), slice(max(left, 0), right)


def _shade(
    scene: Scene, directions: np.ndarray, depth: np.ndarray, normals: np.ndarray, surface: np.ndarray
) -> np.ndarray:
    """Colours, 0 to 1: Lambert's law, and soft shadows where things stand on the floor."""
    colours = np.array([scene.wall_colour, scene.floor_colour, *(shape.colour for shape in scene.shapes)])
    light = scene.ambient + scene.diffuse * np.maximum(normals @ scene.light, 0.0)
    on_floor = surface == FLOOR
    points = scene.camera.position + depth[on_floor][:, None] * directions[on_floor]
    for x, z, radius in scene.contacts:
        distance = ((points[:, 0] - x) ** 2 + (points[:, 2] - z) ** 2) / radius**2
        light[on_floor] *= 1.0 - 0.45 * np.exp(-distance)
    return np.clip(colours[surface] * light[..., None], 0.0, 1.0)
