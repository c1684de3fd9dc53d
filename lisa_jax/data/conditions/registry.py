"""Conditions: what the side network sees, computed from an example.

A condition is a function from an example to a picture, uint8 (H, W, channels): 3 of those that are registered here, 1
to 4 of one of your own, always the same number. Add one by

    @register("silhouette")
    def silhouette(example): ...

or without touching this package by naming it "my_module:my_function" where a condition is asked for.
"""

import dataclasses
import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from PIL import Image

from lisa_jax.data.conditions.names import is_condition
from lisa_jax.data.conditions.openpose import draw_openpose
from lisa_jax.data.conditions.palettes import ade20k_palette, figure_parts_palette, voc_palette
from lisa_jax.data.embedded.tasks import CLASS_MAPS, TASK_CONDITIONS

Condition = Callable[[Mapping[str, Any]], np.ndarray]

LOWRES_FACTOR = 4

# Gradient thresholds of Canny's hysteresis: those of the ControlNet annotator's demo and of diffusers' examples.
CANNY_LOW = 100
CANNY_HIGH = 200

# Label maps mark pixels of no class by it.
VOID_LABEL = 255

# Conditions of the embedded data sets whose functions lie beside them.
_EMBEDDED = frozenset(spec for conditions in TASK_CONDITIONS.values() for spec in conditions.values())


@dataclasses.dataclass(frozen=True)
class _Registered:
    function: Condition
    of_pictures: bool
    classes: bool


_CONDITIONS: dict[str, _Registered] = {}


def register(name: str, *, of_pictures: bool = False, classes: bool = False) -> Callable[[Condition], Condition]:
    """Decorator that makes a condition available by name.

    Args:
      name: of the condition.
      of_pictures: whether a picture is all that it is computed from.
      classes: whether its colours are classes, none of which may be mixed with another.

    Raises:
      ValueError: the name is taken.
    """

    def add(function: Condition) -> Condition:
        if name in _CONDITIONS:
            raise ValueError(f"A condition named {name!r} exists already: choose another name.")
        _CONDITIONS[name] = _Registered(function, of_pictures, classes)
        return function

    return add


def get_condition(name: str, trusted: Collection[str] = ()) -> Condition:
    """The condition registered under `name`, or the function "module:function" refers to.

    Args:
      name: of the condition.
      trusted: what of the form "module:function" the user asked for; importing a module runs it, so that no other one
        is imported, whatever a config of somebody else says.

    Raises:
      ValueError: no condition has that name, the module is not trusted, or module or function do not exist.
    """
    if name in _CONDITIONS:
        return _CONDITIONS[name].function
    module_name, separator, function_name = name.partition(":")
    if not separator:
        raise ValueError(f"Unknown condition {name!r}: {_known()}; or give your own as 'module:function'.")
    if not is_condition(name):
        raise ValueError(f"Condition {name!r} is not of the form module:function, as in my_package.my_module:function.")
    if name not in _EMBEDDED and name not in trusted:
        raise ValueError(
            f"The condition {name!r} would import and run the module {module_name!r}: where you know and trust it, add "
            f"--condition_module={name}."
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"Condition {name!r}: {error}; is it on PYTHONPATH?") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"Condition {name!r}: module {module_name!r} has no function {function_name!r}.")
    return function


def is_own(name: str) -> bool:
    """Whether a condition, as `get_condition` takes it, is a user's function "module:function"; imports nothing."""
    return ":" in name and name not in _EMBEDDED


def shows_classes(name: str) -> bool:
    """Whether the colours of a condition, as `get_condition` takes it, are known to be classes; imports nothing."""
    return name in CLASS_MAPS or (name in _CONDITIONS and _CONDITIONS[name].classes)


def _known() -> str:
    of_pictures, of_more = (
        ", ".join(name for name, found in sorted(_CONDITIONS.items()) if found.of_pictures is wanted)
        for wanted in (True, False)
    )
    return f"computed from a picture alone are {of_pictures}; from what a data set says beside it {of_more}"


@register("canny", of_pictures=True)
def canny(example: Mapping[str, Any]) -> np.ndarray:
    """Canny edges of `image`, white on black: uint8 (H, W, 3), as the canny ControlNets were trained on.

    OpenCV's `Canny` on the RGB picture (at each pixel the channel with the greatest gradient counts), thresholds 100
    and 200, 3x3 Sobel, L1 norm.
    """
    # Imported here because only this condition needs OpenCV, and importing it takes longer than the rest of the module.
    import cv2

    image = _field(example, "canny", "image")
    # Callers have threads of their own, one an image.
    cv2.setNumThreads(1)
    edges = cv2.Canny(np.ascontiguousarray(image), CANNY_LOW, CANNY_HIGH)
    return np.stack([edges] * 3, axis=-1)


@register("lineart")
def lineart(example: Mapping[str, Any]) -> np.ndarray:
    """The example's drawn lines, white on black: uint8 (H, W, 3) from `lineart` (H, W, 1) or (H, W, 3).

    Raises:
      ValueError: the example has no drawn lines, as a photograph has none.
    """
    advice = "it shows lines that were drawn and does not find them in a picture: use 'canny' for photographs"
    lines = _field(example, "lineart", "lineart", advice)
    return np.broadcast_to(lines, (*lines.shape[:2], 3)).copy()


@register("lowres", of_pictures=True)
def lowres(example: Mapping[str, Any]) -> np.ndarray:
    """`image` box-averaged to a quarter of its side and enlarged again bicubically: uint8 (H, W, 3).

    Raises:
      ValueError: a side is not a multiple of four.
    """
    image = _field(example, "lowres", "image")
    height, width = image.shape[:2]
    if height % LOWRES_FACTOR or width % LOWRES_FACTOR:
        raise ValueError(
            f"Condition 'lowres' needs sides that are multiples of {LOWRES_FACTOR}, but the image is {width}x{height}."
        )
    small = Image.fromarray(image).resize((width // LOWRES_FACTOR, height // LOWRES_FACTOR), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@register("segmentation", classes=True)
def segmentation(example: Mapping[str, Any]) -> np.ndarray:
    """`labels`, integers (H, W) from 0 to 255, in the 256 colours of PASCAL VOC's colour map: uint8 (H, W, 3).

    For any class map; label 0 is black. Every label has its own colour, so the map can be read back.
    """
    return _paint(example, "segmentation", voc_palette())


@register("segmentation_ade20k", classes=True)
def segmentation_ade20k(example: Mapping[str, Any]) -> np.ndarray:
    """`labels`, integers (H, W) as in ADE20K's annotation files, in the colours ControlNets expect: uint8 (H, W, 3).

    Labels 1 to 150 are the classes, 0 ("other") and 255 (void) become black. A network that counts its classes from 0
    (wall = 0) needs 1 added to what it predicts.
    """
    palette = np.zeros((VOID_LABEL + 1, 3), np.uint8)
    colours = ade20k_palette()
    palette[: len(colours)] = colours
    labels = _field(example, "segmentation_ade20k", "labels", _LABELS_ADVICE)
    unknown = (labels >= len(colours)) & (labels != VOID_LABEL)
    if unknown.any():
        raise ValueError(
            f"Condition 'segmentation_ade20k' knows labels 0 to {len(colours) - 1} and {VOID_LABEL}, but the map holds "
            f"{labels[unknown][0]}."
        )
    return _paint(example, "segmentation_ade20k", palette)


@register("figure_parts", classes=True)
def figure_parts(example: Mapping[str, Any]) -> np.ndarray:
    """`labels` of a figure (see `lisa_jax.data.embedded.figures.body.PARTS`) in far-apart colours: uint8 (H, W, 3)."""
    return _paint(example, "figure_parts", figure_parts_palette())


@register("outlines")
def outlines(example: Mapping[str, Any]) -> np.ndarray:
    """Where `labels`, integers (H, W), change to the right or below, white on black: uint8 (H, W, 3), as line art."""
    labels = _labels_of(example, "outlines").astype(int)
    right = np.diff(labels, axis=1, append=labels[:, -1:]) != 0
    below = np.diff(labels, axis=0, append=labels[-1:]) != 0
    return np.repeat(np.where(right | below, np.uint8(255), np.uint8(0))[..., None], 3, axis=-1)


@register("pose")
def pose(example: Mapping[str, Any]) -> np.ndarray:
    """`keypoints` as OpenPose draws them, in the size of `image`: uint8 (H, W, 3), see `draw_openpose`."""
    keypoints = _field(example, "pose", "keypoints", "it draws key points and does not find them in a picture")
    height, width = _field(example, "pose", "image").shape[:2]
    return draw_openpose(keypoints, height, width)


@register("depth")
def depth(example: Mapping[str, Any]) -> np.ndarray:
    """`depth` (H, W), distances above 0, as depth ControlNets see it: uint8 (H, W, 3).

    1 / distance, stretched so that the nearest pixel is white and the farthest is black; black where all are equally
    far.

    Raises:
      ValueError: a distance that is not above 0, or not finite.
    """
    distance = _field(example, "depth", "depth", "it shows distances and does not estimate them")
    if not (np.isfinite(distance).all() and (distance > 0).all()):
        raise ValueError("Condition 'depth' needs finite distances above 0: give what is missing the farthest one.")
    nearness = 1.0 / distance.astype(np.float64)
    span = np.ptp(nearness)
    grey = (nearness - nearness.min()) / (span if span > 0 else 1.0)
    return np.repeat(np.round(255 * grey).astype(np.uint8)[..., None], 3, axis=-1)


_LABELS_ADVICE = "it paints a map of integer class labels: name the column that holds it"


def _paint(example: Mapping[str, Any], name: str, palette: np.ndarray) -> np.ndarray:
    labels = _labels_of(example, name)
    if labels.min() < 0 or labels.max() >= len(palette):
        raise ValueError(
            f"Condition {name!r} has colours for labels 0 to {len(palette) - 1}, but the map holds "
            f"{labels.min()} to {labels.max()}."
        )
    return palette[labels]


def _labels_of(example: Mapping[str, Any], name: str) -> np.ndarray:
    labels = _field(example, name, "labels", _LABELS_ADVICE)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"Condition {name!r} needs integer labels (H, W), not {labels.dtype} {labels.shape}.")
    return labels


def _field(example: Mapping[str, Any], name: str, field: str, advice: str = "") -> np.ndarray:
    if field not in example:
        raise ValueError(
            f"Condition {name!r} needs {field!r}, but the example has only {sorted(example)}"
            + (f"; {advice}." if advice else ".")
        )
    return example[field]
