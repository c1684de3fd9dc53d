"""Frames of clips as SVG, so that what is true of them is rendered as that of still drawings is."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np

from lisa_jax.data.embedded.openmoji.catalogue import Drawing
from lisa_jax.data.embedded.openmoji_video.background import sample_background
from lisa_jax.data.embedded.openmoji_video.motion import Place, motion_in_words, sample_motion

# Tells these draws from those of other data sets.
_CLIPS = 3


@dataclasses.dataclass(frozen=True)
class MovingDrawing:
    """A clip: a drawing, its places in the frames, and the background before which it moves, a group of SVG."""

    drawing: Drawing
    places: tuple[Place, ...]
    background: str

    @property
    def caption(self) -> str:
        return f"{self.drawing.caption} {motion_in_words(self.places)}"

    def frames(self) -> list[str]:
        """Each frame as SVG; the background is a layer of its own."""
        return [with_background(moved, self.background) for moved in self.moved()]

    def moved(self) -> list[str]:
        """The drawing alone in each frame."""
        svg = self.drawing.svg()
        return [moved(svg, place) for place in self.places]


def sample_clip(drawing: Drawing, frames: int) -> MovingDrawing:
    """The clip of a drawing; it depends on its code points alone, and more frames show the same motion."""
    rng = np.random.default_rng([_CLIPS, *(int(point, 16) for point in drawing.codepoints.split("-"))])
    background = sample_background(rng)
    return MovingDrawing(drawing, sample_motion(rng, frames), background)


def moved(svg: str, place: Place) -> str:
    """A drawing at a place; its layers stay layers."""
    root = ET.fromstring(svg)
    for layer in root:
        layer.set("transform", f"{place.transform()} {layer.get('transform', '')}".strip())
    return ET.tostring(root, encoding="unicode")


def with_background(svg: str, background: str) -> str:
    """A drawing before a background."""
    root = ET.fromstring(svg)
    # Its elements would be of no namespace otherwise.
    group = ET.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{background}</svg>')[0]
    root.insert(0, group)
    return ET.tostring(root, encoding="unicode")
