"""Raster images of OpenMoji's layered SVG drawings: the picture, and its line art from the line layers alone."""

import io
import math
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from lisa_jax.data.embedded.openmoji.packages import package

_SVG = "http://www.w3.org/2000/svg"
# Without these, ElementTree would write "ns0:" prefixes; resvg reads both, people do not.
ET.register_namespace("", _SVG)
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")

# resvg draws strokes thinner than a pixel too faintly (9% of a line's ink is lost at 32 px), so small sizes are
# rendered large and box-averaged down.
_SMALLEST_RENDER = 128


def render_image(svg: str, image_size: int) -> np.ndarray:
    """The drawing on white: uint8 (image_size, image_size, 3)."""
    factor = max(2, math.ceil(_SMALLEST_RENDER / image_size))
    pixels = image_size * factor
    png = package("resvg_py").svg_to_bytes(
        svg_string=svg, width=pixels, height=pixels, background="#ffffff", skip_system_fonts=True
    )
    image = Image.open(io.BytesIO(bytes(png))).convert("RGB")
    return np.asarray(image.resize((image_size, image_size), Image.Resampling.BOX))


def render_opacity(svg: str, pixels: int) -> np.ndarray:
    """Opacity of the drawing on nothing, as it is rendered: uint8 (pixels, pixels)."""
    png = package("resvg_py").svg_to_bytes(svg_string=svg, width=pixels, height=pixels, skip_system_fonts=True)
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))[..., 3]


def render_mask(svg: str, image_size: int) -> np.ndarray:
    """Which pixels the drawing covers by half or more: bool (image_size, image_size)."""
    factor = max(2, math.ceil(_SMALLEST_RENDER / image_size))
    opacity = render_opacity(svg, image_size * factor) / 255
    return opacity.reshape(image_size, factor, image_size, factor).mean((1, 3)) >= 0.5


def render_lineart(svg: str, image_size: int) -> np.ndarray:
    """White lines on black, as ControlNet's line art conditions: uint8 (image_size, image_size, 1).

    Shows the line layers whole, also where the picture paints a colour over them (a white letter on a button).
    """
    black_on_white = render_image(line_layers(svg), image_size)
    return 255 - black_on_white.max(axis=-1, keepdims=True)


def line_layers(svg: str) -> str:
    """The SVG without its colour, hair and skin layers.

    Layers are the top-level groups; line layers have ids that start with "line" (line, line-2, line_1_,
    line-supplement). Groups further down may carry such an id on a coloured fill, so only the top level decides.
    """
    root = ET.fromstring(svg)
    for layer in list(root):
        if layer.tag == f"{{{_SVG}}}g" and not layer.get("id", "").startswith("line"):
            root.remove(layer)
    return ET.tostring(root, encoding="unicode")
