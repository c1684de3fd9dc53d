"""Clips as folders of pictures, a file a frame; as PNG they keep every bit."""

import itertools
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lisa_jax.files.naming import naming
from lisa_jax.media import image
from lisa_jax.media.clip import FRAME_SUFFIXES, Clip, Frame
from lisa_jax.media.open_picture import PictureError


def frames_of(folder: Path, where: str) -> list[Path]:
    """The pictures in a folder in the order of their names, in which numbers count as numbers.

    Raises:
      PictureError: there are none, several of one name, or some are missing: numbers that count frames by one leave
        one out.
    """
    frames = sorted((path for path in folder.iterdir() if _is_frame(path)), key=lambda path: _natural(path.name))
    if not frames:
        raise PictureError(f"{where}: the folder {folder.name!r} holds no frames ({', '.join(FRAME_SUFFIXES)}).")
    for one, other in itertools.pairwise(frames):
        if one.stem == other.stem:
            raise PictureError(f"{where}: the folder {folder.name!r} holds both {one.name} and {other.name}: keep one.")
    numbers = [int(found[-1]) for path in frames if (found := re.findall("[0-9]+", path.stem))]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    # Not of times, nor of every so many-th frame.
    if len(numbers) == len(frames) and 2 * steps.count(1) > len(steps) > steps.count(1):
        last = frames[next(place for place, step in enumerate(steps) if step != 1)]
        raise PictureError(f"{where}: in the folder {folder.name!r} frames are missing after {last.name}.")
    return frames


def holds_frames(folder: Path) -> bool:
    """Whether a folder is one of frames."""
    return folder.is_dir() and any(map(_is_frame, folder.iterdir()))


def opened(files: Sequence[Path], start: int = 0) -> Clip:
    """A clip of frames, which have no times, from the one of a number on."""
    return Clip(None, 0.0, len(files), (Frame(None, lambda file=file: file) for file in files[start:]), start)


def write(folder: Path, clip: np.ndarray) -> None:
    """Write a folder of `00000.png`, `00001.png`, ... of a clip (F, H, W, 1 to 4), as it is.

    It has its name only when it is whole; another one of the name is replaced.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    for old in (partial, folder):
        if old.is_dir():
            shutil.rmtree(old)
    with naming(folder):
        partial.mkdir()
        for number, frame in enumerate(clip):
            image.write(partial / f"{number:05d}.png", frame)
        partial.rename(folder)


def _is_frame(path: Path) -> bool:
    return path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".")


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which frame_2 comes before frame_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]
