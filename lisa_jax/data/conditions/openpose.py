"""Poses as pictures: OpenPose's coloured skeletons on black, as the ControlNets for poses were trained on.

Limbs and colours are those of OpenPose's Python port, as in the ControlNet annotator and controlnet_aux.
"""

import math
from typing import Any

import numpy as np

# Key points in OpenPose's order for COCO bodies.
KEYPOINTS = (
    "nose",
    "neck",
    "right shoulder",
    "right elbow",
    "right wrist",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "right eye",
    "left eye",
    "right ear",
    "left ear",
)
# Pairs of key points, in the order they are drawn; the colour of a limb is that of its number, as that of a point.
LIMBS = (
    (1, 2),
    (1, 5),
    (2, 3),
    (3, 4),
    (5, 6),
    (6, 7),
    (1, 8),
    (8, 9),
    (9, 10),
    (1, 11),
    (11, 12),
    (12, 13),
    (1, 0),
    (0, 14),
    (14, 16),
    (0, 15),
    (15, 17),
)
COLOURS = (
    (255, 0, 0),
    (255, 85, 0),
    (255, 170, 0),
    (255, 255, 0),
    (170, 255, 0),
    (85, 255, 0),
    (0, 255, 0),
    (0, 255, 85),
    (0, 255, 170),
    (0, 255, 255),
    (0, 170, 255),
    (0, 85, 255),
    (0, 0, 255),
    (85, 0, 255),
    (170, 0, 255),
    (255, 0, 255),
    (255, 0, 170),
    (255, 0, 85),
)
# Limbs are darker than points.
LIMB_BRIGHTNESS = 0.6

# Half a limb's greatest width and a point's radius, where the shorter side has 512 pixels; small pictures get more.
_RADIUS, _RADIUS_AT = 4.0, 512
_SMALLEST_RADIUS = 0.75
# Drawn so much larger and averaged down: small pictures need it more.
_DRAWN_SIDE = 256
# OpenCV takes fractions of a pixel as integers with so many bits behind the point.
_SHIFT = 4
_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 32, False)), np.sin(np.linspace(0, 2 * np.pi, 32, False))], axis=1)


def draw_openpose(keypoints: Any, height: int, width: int) -> np.ndarray:
    """Skeletons of any number of people on black: uint8 (height, width, 3).

    A limb is an ellipse as long as the way between its key points, in .6 of its colour; a key point is a disk in its
    full colour. Both are 8 pixels wide where the shorter side has 512, in proportion at other sizes, and 1.5 at least.
    A missing key point takes its limbs with it.

    Args:
      keypoints: numbers (18, 3), (people, 18, 3), or flat with 54 a person as in OpenPose's files: x and y in pixels
        (the centre of the top left pixel is (0.5, 0.5)), then confidence or visibility: 0 and below is missing.
      height, width: of the picture.

    Raises:
      ValueError: numbers that are no such key points.
    """
    # Imported here because only drawing needs OpenCV, and importing it takes long.
    import cv2

    people = _people(keypoints)
    # Callers have threads of their own, one an image.
    cv2.setNumThreads(1)
    factor = max(2, math.ceil(_DRAWN_SIDE / min(height, width)))
    canvas = np.zeros((height * factor, width * factor, 3), np.uint8)
    radius = factor * max(_RADIUS * min(height, width) / _RADIUS_AT, _SMALLEST_RADIUS)

    def fill(outline: np.ndarray, colour: tuple[int, ...]) -> None:
        # To OpenCV the centre of the top left pixel is (0, 0).
        fixed = np.round((outline - 0.5) * 2**_SHIFT).astype(np.int32)
        cv2.fillConvexPoly(canvas, fixed, colour, shift=_SHIFT)

    for person in people:
        points, there = person[:, :2] * factor, person[:, 2] > 0
        for (start, end), colour in zip(LIMBS, COLOURS, strict=False):
            if there[start] and there[end]:
                half = (points[end] - points[start]) / 2
                length = max(float(np.linalg.norm(half)), 1e-6)
                across = np.array([-half[1], half[0]]) * radius / length
                limb = (points[start] + points[end]) / 2 + _CIRCLE @ np.stack([half, across])
                fill(limb, tuple(int(LIMB_BRIGHTNESS * channel) for channel in colour))
    for person in people:
        for point, colour in zip(person, COLOURS, strict=True):
            if point[2] > 0:
                fill(point[:2] * factor + radius * _CIRCLE, colour)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def _people(keypoints: Any) -> np.ndarray:
    """float64 (people, 18, 3)."""
    numbers = np.asarray(keypoints, np.float64)
    count = len(KEYPOINTS)
    known = numbers.shape[-2:] == (count, 3) or (numbers.ndim in (1, 2) and numbers.shape[-1] % (3 * count) == 0)
    if not known:
        raise ValueError(
            f"Key points must be numbers ({count}, 3), (people, {count}, 3) or {3 * count} a person in OpenPose's "
            f"order, not of shape {numbers.shape}."
        )
    people = numbers.reshape(-1, count, 3)
    if not np.isfinite(people[people[..., 2] > 0]).all():
        raise ValueError("Key points hold numbers that are not finite: give a missing point the confidence 0.")
    return people
