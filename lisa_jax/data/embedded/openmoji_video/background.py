"""Backgrounds as SVG: light, so that black lines stay the darkest there is."""

import colorsys

import numpy as np

from lisa_jax.data.embedded.openmoji_video.motion import SIDE

_SHAPES = 4


def sample_background(rng: np.random.Generator) -> str:
    """A group of SVG that fills the picture: a gradient of two colours, and discs and squares on it."""
    upper, lower = _colour(rng), _colour(rng)
    gradient = (
        f'<linearGradient id="sky" gradientTransform="rotate({rng.uniform(0, 90):.1f})">'
        f'<stop offset="0" stop-color="{upper}"/><stop offset="1" stop-color="{lower}"/></linearGradient>'
    )
    ground = f'<rect width="{SIDE}" height="{SIDE}" fill="url(#sky)"/>'
    return f'<g id="background">{gradient}{ground}{"".join(_shape(rng) for _ in range(_SHAPES))}</g>'


def _shape(rng: np.random.Generator) -> str:
    (x, y), radius = rng.uniform(0, SIDE, 2), rng.uniform(SIDE / 12, SIDE / 4)
    how = f'fill="{_colour(rng)}" fill-opacity="{rng.uniform(0.5, 0.9):.2f}"'
    if rng.random() < 0.5:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" {how}/>'
    return f'<rect x="{x - radius:.1f}" y="{y - radius:.1f}" width="{2 * radius:.1f}" height="{2 * radius:.1f}" {how}/>'


def _colour(rng: np.random.Generator) -> str:
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.5), rng.uniform(0.75, 1.0))
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in rgb)
