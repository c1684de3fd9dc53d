"""Images as a medium: PNG files of uint8 (H, W, 3)."""

from pathlib import Path

import numpy as np

from lisa_jax.files.whole_file import write_whole
from lisa_jax.media.grid import labelled_grid
from lisa_jax.media.medium import Medium


def mirror(picture: np.ndarray) -> np.ndarray:
    """(H, W, c) with left and right exchanged, a view."""
    return picture[:, ::-1]


def write(path: Path, picture: np.ndarray, fps: float | None = None) -> None:
    """Write a PNG of a picture (H, W, 1 to 4), as it is; it has its name only when it is whole. `fps` means nothing."""
    del fps
    # Imported in functions: a family names its medium, and compiling its architecture must not need a picture library.
    from PIL import Image

    shown = picture[..., 0] if picture.shape[-1] == 1 else picture
    write_whole(path, lambda partial: Image.fromarray(shown).save(partial, format="PNG"))


def read(path: Path) -> np.ndarray:
    """A picture, uint8 (H, W, 3); raises PictureError where it is none."""
    from lisa_jax.media.decode import decode_picture

    return decode_picture(path, str(path))


IMAGE = Medium("image", 2, {"png": ".png"}, mirror, labelled_grid, write, read)
