"""Segmentation maps of OpenMoji drawings: which of the SVG's layers is on top at every pixel.

A condition of that name can be trained on as it is:
`--config.data.condition=lisa_jax.data.embedded.openmoji.layer_classes:segmentation`.
"""

import functools
import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

import numpy as np

from lisa_jax.data.embedded.openmoji.catalogue import svg_of
from lisa_jax.data.embedded.openmoji.rendering import render_opacity

CLASSES = ("background", "color", "hair", "skin", "line")
# Colours of the map: far apart, and not OpenMoji's own, so that a map does not give a drawing's colours away.
CLASS_COLOURS = np.array([[0, 0, 0], [0, 0, 255], [0, 255, 0], [255, 0, 0], [255, 255, 255]], np.uint8)

_GROUP = "{http://www.w3.org/2000/svg}g"
_SMALLEST_RENDER = 128


def render_layer_classes(svg: str, image_size: int) -> np.ndarray:
    """Index into CLASSES of the topmost layer of each pixel: uint8 (image_size, image_size).

    Layers are the top-level groups, in paint order; the shadow of skin counts as skin, other colour layers as color. A
    pixel gets the class that most of its area shows.
    """
    factor = max(2, math.ceil(_SMALLEST_RENDER / image_size))
    pixels = image_size * factor
    classes = np.zeros((pixels, pixels), np.uint8)
    root = ET.fromstring(svg)
    layers = [element for element in root if element.tag == _GROUP and len(element)]
    for layer in layers:
        for other in layers:
            if other is not layer:
                root.remove(other)
        classes[render_opacity(ET.tostring(root, encoding="unicode"), pixels) > 127] = _class_of(layer.get("id", ""))
        for element in layers:
            if element is not layer:
                root.append(element)
    shares = np.eye(len(CLASSES), dtype=np.float32)[classes]
    shares = shares.reshape(image_size, factor, image_size, factor, len(CLASSES)).sum((1, 3))
    return np.argmax(shares, -1).astype(np.uint8)


def segmentation(example: Mapping[str, Any]) -> np.ndarray:
    """The condition of an OpenMoji example: its layer classes in CLASS_COLOURS, uint8 (H, W, 3)."""
    return CLASS_COLOURS[_layer_classes_of(example["codepoints"], example["image"].shape[0])]


@functools.cache
def _layer_classes_of(codepoints: str, image_size: int) -> np.ndarray:
    return render_layer_classes(svg_of(codepoints), image_size)


def _class_of(layer_id: str) -> int:
    if layer_id.startswith("line"):
        return CLASSES.index("line")
    if layer_id.startswith("skin"):
        return CLASSES.index("skin")
    return CLASSES.index("hair" if layer_id.startswith("hair") else "color")
