"""Configurations of the embedded data sets of clips."""

import dataclasses
import functools

import tensorflow_datasets as tfds

_SMALLEST = 16


@dataclasses.dataclass
class ClipConfig(tfds.core.BuilderConfig):
    """Number of frames and their square size; made by `config_of_size`."""

    frames: int = 8
    image_size: int = 32


# Cached because TFDS takes a configuration by a known name only when it is the very object it knows.
@functools.cache
def config_of_size(frames: int, height: int, width: int) -> ClipConfig:
    """The configuration for clips of so many frames of height x width pixels.

    Raises:
      ValueError: fewer than 2 frames, of less than 16 pixels a side, or not square.
    """
    if height != width:
        raise ValueError(f"Embedded clips are square, but {height}x{width} is asked for.")
    if frames < 2 or height < _SMALLEST:
        raise ValueError(
            f"Embedded clips need 2 frames and {_SMALLEST} pixels a side or more, but {frames} frames of {height} "
            "pixels are asked for."
        )
    return ClipConfig(name=f"size_{frames}x{height}", frames=frames, image_size=height)
