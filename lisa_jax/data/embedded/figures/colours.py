"""Colours of figures and what captions call them."""

import numpy as np

from lisa_jax.data.embedded.figures.shapes import Colour

# 0 to 255.
NAMED = {
    "red": (205, 40, 45),
    "orange": (240, 135, 35),
    "yellow": (245, 210, 60),
    "green": (50, 150, 70),
    "blue": (45, 90, 200),
    "purple": (125, 60, 160),
    "pink": (240, 140, 180),
    "brown": (120, 75, 45),
    "black": (40, 40, 45),
    "white": (240, 240, 240),
    "grey": (135, 135, 140),
}
SKINS = ((250, 220, 195), (240, 195, 160), (215, 160, 120), (175, 120, 80), (125, 80, 55), (85, 55, 40))
HAIRS = ((30, 25, 25), (75, 45, 30), (120, 75, 40), (215, 175, 95), (170, 70, 35), (165, 165, 170))


def near(rng: np.random.Generator, colour: tuple[int, int, int]) -> Colour:
    """A colour close to one of 0 to 255, in 0 to 1."""
    red, green, blue = np.clip(np.array(colour) / 255 + rng.uniform(-0.04, 0.04, 3), 0, 1)
    return float(red), float(green), float(blue)


def with_article(thing: str) -> str:
    """ "orange box" -> "an orange box"."""
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"
