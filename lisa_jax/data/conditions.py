"""Conditions: what the side network sees, computed from an example.

A condition is a function from an example to a uint8 (H, W, 3) picture. Add one of your own by

    @register("silhouette")
    def silhouette(example): ...

or without touching this package by naming it "my_module:my_function" where a condition is asked for.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

Condition = Callable[[Mapping[str, Any]], np.ndarray]

LOWRES_FACTOR = 4

_CONDITIONS: dict[str, Condition] = {}


def register(name: str) -> Callable[[Condition], Condition]:
    """Decorator that makes a condition available by name; ValueError when the name is taken."""

    def add(function: Condition) -> Condition:
        if name in _CONDITIONS:
            raise ValueError(f"A condition named {name!r} exists already: choose another name.")
        _CONDITIONS[name] = function
        return function

    return add


def get_condition(name: str) -> Condition:
    """The condition registered under `name`, or the function "module:function" refers to.

    Raises:
      ValueError: no condition has that name, or the module or function does not exist.
    """
    if name in _CONDITIONS:
        return _CONDITIONS[name]
    module_name, separator, function_name = name.partition(":")
    if not separator:
        raise ValueError(f"Unknown condition {name!r}: use one of {sorted(_CONDITIONS)} or 'module:function'.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"Condition {name!r}: {error}; is it on PYTHONPATH?") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(f"Condition {name!r}: module {module_name!r} has no function {function_name!r}.")
    return function


@register("lineart")
def lineart(example: Mapping[str, Any]) -> np.ndarray:
    """The example's drawn lines, white on black: uint8 (H, W, 3) from `lineart` (H, W, 1) or (H, W, 3)."""
    lines = example["lineart"]
    return np.broadcast_to(lines, (*lines.shape[:2], 3)).copy()


@register("lowres")
def lowres(example: Mapping[str, Any]) -> np.ndarray:
    """`image` box-averaged to a quarter of its side and enlarged again bicubically: uint8 (H, W, 3).

    Raises:
      ValueError: a side is not a multiple of four.
    """
    height, width = example["image"].shape[:2]
    if height % LOWRES_FACTOR or width % LOWRES_FACTOR:
        raise ValueError(
            f"lowres needs sides that are multiples of {LOWRES_FACTOR}, but the image is {width}x{height}."
        )
    small = Image.fromarray(example["image"]).resize(
        (width // LOWRES_FACTOR, height // LOWRES_FACTOR), Image.Resampling.BOX
    )
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
