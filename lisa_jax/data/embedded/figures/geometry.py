"""Rotations and frames of figures. World axes: x to the camera's right, y up, z away from it; lengths in metres."""

import numpy as np


def rotation_x(angle: float) -> np.ndarray:
    """(3, 3), radians; a quarter turn takes y to z."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])


def rotation_y(angle: float) -> np.ndarray:
    """(3, 3), radians; a quarter turn takes z to x."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])


def rotation_z(angle: float) -> np.ndarray:
    """(3, 3), radians; a quarter turn takes x to y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def frame_along(axis: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Orthonormal columns (3, 3): the second along `axis`, the first in the plane of both, as near `side` as can be."""
    y = axis / np.linalg.norm(axis)
    x = side - (side @ y) * y
    if np.linalg.norm(x) < 1e-6:
        x = np.array([1.0, 0.0, 0.0]) if abs(y[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
        x = x - (x @ y) * y
    x = x / np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], axis=1)
