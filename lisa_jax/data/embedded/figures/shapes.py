"""Surfaces that rays can hit: affine images of a ball, a capsule, a box and a frustum (cylinder, cone)."""

import dataclasses

import numpy as np

from lisa_jax.data.embedded.figures.geometry import frame_along

Colour = tuple[float, float, float]

_TINY = 1e-12
_ACROSS = np.array([1.0, 0.0, 0.0])


@dataclasses.dataclass(frozen=True)
class Shape:
    """A closed surface, of one colour and one part class.

    Attributes:
      kind: "ball" (radius 1), "capsule" (radius 1 about the y axis from 0 to `extra`), "box" (-1 to 1 on each axis) or
        "frustum" (about the y axis from 0 to 1; its radius goes from 1 to `extra`), in local coordinates.
      centre: (3,), where the local origin is in the world.
      axes: (3, 3), columns: where the local unit vectors point.
      colour: (3,), 0 to 1.
      label: part class.
      extra: length of a capsule or upper radius of a frustum, in local units.
    """

    kind: str
    centre: np.ndarray
    axes: np.ndarray
    colour: Colour
    label: int
    extra: float = 1.0

    def corners(self) -> np.ndarray:
        """Corners of a parallelepiped around the surface, (8, 3) in the world."""
        low, high = np.full(3, -1.0), np.ones(3)
        if self.kind == "capsule":
            high[1] = self.extra + 1.0
        elif self.kind == "frustum":
            widest = max(1.0, self.extra)
            low, high = np.array([-widest, 0.0, -widest]), np.array([widest, 1.0, widest])
        return self.centre + np.where(_CORNERS, high, low) @ self.axes.T

    def hit(self, origin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rays from outside first meet the surface.

        Args:
          origin: (3,), of all rays.
          directions: (n, 3), of any length.

        Returns:
          t (n,): the point is origin + t * direction; infinite where the surface is missed or behind.
          normals (n, 3) towards the outside, of length 1; no meaning where it is missed.
        """
        inverse = np.linalg.inv(self.axes)
        o, d = inverse @ (origin - self.centre), directions @ inverse.T
        with np.errstate(divide="ignore", invalid="ignore"):
            t, normals = _HITS[self.kind](o, d, self.extra)
        t = np.where(t > 0, t, np.inf)
        normals = normals @ inverse
        lengths = np.sqrt(np.einsum("ij,ij->i", normals, normals))
        return t, normals / np.maximum(lengths, _TINY)[:, None]


def ellipsoid(
    centre: np.ndarray, radii: tuple[float, float, float], frame: np.ndarray, colour: Colour, label: int
) -> Shape:
    """An ellipsoid whose axes are the columns of `frame`."""
    return Shape("ball", centre, frame * np.asarray(radii), colour, label)


def capsule(start: np.ndarray, end: np.ndarray, radius: float, colour: Colour, label: int) -> Shape:
    """All points within `radius` of the line from start to end."""
    axis = end - start
    frame = frame_along(axis, _ACROSS)
    return Shape("capsule", start, frame * radius, colour, label, float(np.linalg.norm(axis)) / radius)


def box(
    centre: np.ndarray, half_sides: tuple[float, float, float], frame: np.ndarray, colour: Colour, label: int
) -> Shape:
    """A box whose edges are along the columns of `frame`."""
    return Shape("box", centre, frame * np.asarray(half_sides), colour, label)


def frustum(
    start: np.ndarray,
    end: np.ndarray,
    radii: tuple[float, float],
    colour: Colour,
    label: int,
    *,
    side: np.ndarray = _ACROSS,
    flatness: float = 1.0,
) -> Shape:
    """A cylinder, cone or cut cone from `start` to `end`, where its radii are `radii`.

    Its section is a circle squeezed by `flatness` across `side`.
    """
    axis = end - start
    scale = np.array([radii[0], np.linalg.norm(axis), radii[0] * flatness])
    return Shape("frustum", start, frame_along(axis, side) * scale, colour, label, radii[1] / radii[0])


_CORNERS = np.array([[x, y, z] for x in (False, True) for y in (False, True) for z in (False, True)])


def _ball(o: np.ndarray, d: np.ndarray, extra: float) -> tuple[np.ndarray, np.ndarray]:
    del extra
    t = _nearer_root(np.einsum("ij,ij->i", d, d), d @ o, o @ o - 1.0)
    return t, o + t[:, None] * d


def _capsule(o: np.ndarray, d: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    across = np.array([1.0, 0.0, 1.0])
    square = np.maximum(np.einsum("ij,ij->i", d * across, d), _TINY)
    side = _nearer_root(square, d @ (o * across), o @ (o * across) - 1.0)
    height = o[1] + side * d[:, 1]
    # The end whose side of the cylinder the ray comes from.
    end = np.where(height > 0.5 * length, length, 0.0)
    from_end = o[None] - np.stack([np.zeros_like(end), end, np.zeros_like(end)], axis=1)
    products = np.einsum("ij,ij->i", from_end, d)
    cap = _nearer_root(np.einsum("ij,ij->i", d, d), products, np.einsum("ij,ij->i", from_end, from_end) - 1.0)
    on_side = (height >= 0) & (height <= length)
    # A ray that misses the endless cylinder has NaN for a height, and misses both ends.
    t = np.where(on_side, side, cap)
    points = o + t[:, None] * d
    points[:, 1] -= np.clip(points[:, 1], 0.0, length)
    return t, points


def _box(o: np.ndarray, d: np.ndarray, extra: float) -> tuple[np.ndarray, np.ndarray]:
    del extra
    inverse = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    near = -o * inverse - np.abs(inverse)
    far = -o * inverse + np.abs(inverse)
    axis = near.argmax(axis=1)
    t = np.take_along_axis(near, axis[:, None], axis=1)[:, 0]
    normals = -np.sign(d) * (axis[:, None] == np.arange(3))
    return np.where(t <= far.min(axis=1), t, np.inf), normals


def _frustum(o: np.ndarray, d: np.ndarray, top: float) -> tuple[np.ndarray, np.ndarray]:
    slope, radius = 1.0 - top, 1.0 - (1.0 - top) * o[1]
    dx, dy, dz = d.T
    a = dx**2 + dz**2 - (slope * dy) ** 2
    a = np.where(np.abs(a) < _TINY, _TINY, a)
    b = o[0] * dx + o[2] * dz + slope * radius * dy
    root = np.sqrt(b * b - a * (o[0] ** 2 + o[2] ** 2 - radius**2))
    first, second = (-b - root) / a, (-b + root) / a
    dy = np.where(np.abs(dy) < _TINY, _TINY, dy)
    candidates = [_within(t, o[1] + t * dy) for t in (first, second)]
    for height, rim in ((0.0, 1.0), (1.0, top)):
        t = (height - o[1]) / dy
        inside = (o[0] + t * dx) ** 2 + (o[2] + t * dz) ** 2 <= rim**2
        candidates.append(np.where(inside & (t > 0), t, np.inf))
    stacked = np.stack(candidates)
    which = stacked.argmin(axis=0)
    t = stacked.min(axis=0)
    points = o + np.where(np.isfinite(t), t, 0.0)[:, None] * d
    normals = np.stack([points[:, 0], slope * (1.0 - slope * points[:, 1]), points[:, 2]], axis=1)
    normals = np.where((which == 2)[:, None], [0.0, -1.0, 0.0], normals)
    return t, np.where((which == 3)[:, None], [0.0, 1.0, 0.0], normals)


def _within(t: np.ndarray, height: np.ndarray) -> np.ndarray:
    return np.where((height >= 0) & (height <= 1) & (t > 0), t, np.inf)


def _nearer_root(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The smaller root of a t^2 + 2 b t + c; NaN where there is none."""
    return (-b - np.sqrt(b * b - a * c)) / a


_HITS = {"ball": _ball, "capsule": _capsule, "box": _box, "frustum": _frustum}
