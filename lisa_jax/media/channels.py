"""Pictures of other channels than colours, as conditions may be, and how they are shown."""

from collections.abc import Mapping

import numpy as np

RGB = 3
# As PNG holds them: 1 is grey, 2 grey and opacity, 3 colours, 4 colours and opacity.
MOST_CHANNELS = 4
# Those whose last channel is opacity.
WITH_OPACITY = (2, 4)
# Of what lies behind colours that are not opaque, where such pictures are shown.
_GROUND = 128


def not_rgb(channels: Mapping[str, int]) -> dict[str, int]:
    """Those of the conditions, by name, that have not 3 channels, sorted: what is noted where it is not the usual."""
    return {name: count for name, count in sorted(channels.items()) if count != RGB}


def in_colours(picture: np.ndarray) -> np.ndarray:
    """A picture, uint8 (..., channels), as it is shown, uint8 (..., 3).

    1 channel is grey; of 2 the first is, and the second is not shown; of 4 the colours lie on grey (128) by their
    opacity.
    """
    channels = picture.shape[-1]
    if channels == RGB:
        return picture
    if channels == MOST_CHANNELS:
        colours, opacity = picture[..., :RGB].astype(np.uint32), picture[..., RGB:].astype(np.uint32)
        return ((colours * opacity + _GROUND * (255 - opacity) + 127) // 255).astype(np.uint8)
    return np.repeat(picture[..., :1], RGB, axis=-1)
