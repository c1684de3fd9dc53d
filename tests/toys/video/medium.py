"""Videos as a medium: PNG files with the frames, which are square, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lisa_jax.media import image
from lisa_jax.media.grid import labelled_grid
from lisa_jax.media.medium import Medium


def mirror(video: np.ndarray) -> np.ndarray:
    """(F, H, W, c) with left and right exchanged, a view."""
    return video[:, :, ::-1]


def sheet(
    columns: Mapping[str, np.ndarray], cell: int = 128, blocks: int = 1, captions: Sequence[str] = ()
) -> np.ndarray:
    """A column for each frame."""
    columns = {label: np.asarray(videos) for label, videos in columns.items()}
    frames = {f"{label} {f}": videos[:, f] for label, videos in columns.items() for f in range(videos.shape[1])}
    return labelled_grid(frames, cell, blocks, captions)


def write(path: Path, video: np.ndarray) -> None:
    image.write(path, np.concatenate(list(video), axis=1))


def read(path: Path) -> np.ndarray:
    picture = image.read(path)
    return np.stack(np.split(picture, picture.shape[1] // picture.shape[0], axis=1))


VIDEO = Medium(".png", mirror, sheet, write, read)
