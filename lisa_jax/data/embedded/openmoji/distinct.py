"""The drawings that the data sets are made of: those with lines, each once."""

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from lisa_jax.data.embedded.openmoji import catalogue, rendering

# Below this, no pixel of the line art is clearly lit: the drawing has no line layer to speak of.
_FAINTEST_LINE = 128


def distinct_drawings(image_size: int) -> Iterator[tuple[catalogue.Drawing, np.ndarray, np.ndarray]]:
    """Drawings with their picture and line art, as `rendering` makes them, of both splits in code point order.

    Those without clear lines are left out, and all but the first of those that look alike at that size.
    """
    seen: set[bytes] = set()
    for drawing in tqdm(catalogue.drawings(), desc=f"Rendering OpenMoji at {image_size} px", unit="drawing"):
        svg = drawing.svg()
        image, lineart = rendering.render_image(svg, image_size), rendering.render_lineart(svg, image_size)
        if image.tobytes() not in seen and np.max(lineart) >= _FAINTEST_LINE:
            seen.add(image.tobytes())
            yield drawing, image, lineart
