"""Conditions of a request that are videos, and the first frame that a video is to begin with."""

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from lisa_jax.data.clip_frames import FrameReader, picks_of, place_of
from lisa_jax.data.geometry import Size, check_same_aspect, fit
from lisa_jax.data.rows import RowError
from lisa_jax.data.rows.named_file import named_clip
from lisa_jax.drawing.requests import Request
from lisa_jax.files.sha256 import sha256_of
from lisa_jax.media.channels import RGB
from lisa_jax.media.clip import StoredClip
from lisa_jax.media.decode import decode_picture
from lisa_jax.media.open_clip import open_clip
from lisa_jax.media.video import DEFAULT_FPS


def sizes_and_hashes(request: Request, channels: Mapping[str, int]) -> tuple[dict[str, Size], dict[str, str]]:
    """(height, width) of every condition, and SHA-256 of it and of the first frame, by name.

    Raises:
      RowError: one that is missing, or too short.
      PictureError: one that is no video or picture, see `open_clip`.
    """
    sizes, hashes = {}, {}
    for name in request.conditions:
        stored = _stored(request, name)
        files = [stored] if isinstance(stored, Path) else stored
        hashes[name] = hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()
        with _taken(request, name, channels) as frames:
            # All of them, so that what cannot be used is told before anything is drawn.
            for frame in frames:
                sizes[name] = frame.shape[:2]
    if request.first_frame is not None:
        hashes["first_frame"] = sha256_of(
            named_clip(Path(), str(request.first_frame), True, "first_frame", request.where)
        )
        found = _first_frame(request)
        name, size = next(iter(sizes.items()))
        check_same_aspect(name, size, found.shape[:2], request.where, "first frame")
    return sizes, hashes


def fps_of(request: Request) -> float:
    """Frames a second of what is asked for: as it says, else as its first condition has them, else the usual."""
    if request.clip.fps is not None:
        return request.clip.fps
    name = next(iter(request.conditions))
    with open_clip(_stored(request, name), _where(request, name)) as clip:
        return clip.rate or DEFAULT_FPS


def fitted_clips(
    request: Request, size: Size, classes: Collection[str], channels: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """A request's conditions, every frame resized and cropped to `size` (height, width): uint8 (F, H, W, c) by name.

    Raises:
      RowError, PictureError: one that cannot be read or is too short, or conditions of different aspect ratios.
    """
    names = list(request.conditions)
    how = {"where": request.where, "min_size": 1, "subject": f"condition {names[0]!r}", "labels": classes}
    with contextlib.ExitStack() as stack:
        sources = [stack.enter_context(_taken(request, name, channels)) for name in names]
        frames = [
            fit(pictures[0], dict(zip(names, pictures, strict=True)), size, **how).conditions
            for pictures in zip(*sources, strict=True)
        ]
    return {name: np.stack([frame[name] for frame in frames]) for name in names}


def fitted_first_frame(request: Request, size: Size) -> np.ndarray:
    """The first frame, resized and cropped as the conditions are: uint8 (H, W, 3)."""
    return fit(_first_frame(request), {}, size, where=request.where, min_size=1, subject="first frame").image


def _first_frame(request: Request) -> np.ndarray:
    return decode_picture(request.first_frame, f"{request.where}: {request.first_frame}")


def _stored(request: Request, name: str) -> StoredClip:
    # The user's own words, whatever folder they lead to.
    return named_clip(Path(), str(request.conditions[name]), allow_outside=True, what=name, where=request.where)


def _where(request: Request, name: str) -> str:
    file = str(request.conditions[name])
    return request.where if file in request.where else place_of(_stored(request, name), request.where)


@contextlib.contextmanager
def _taken(request: Request, name: str, channels: Mapping[str, int]) -> Iterator[Iterator[np.ndarray]]:
    """The frames of a condition that are used, as they are: uint8 (h, w, c) each."""
    where = _where(request, name)
    with open_clip(_stored(request, name), where) as clip:
        picks = picks_of(clip.rate, request.clip.frames, request.clip.fps, None, where)
        reader = FrameReader(clip, where, channels.get(name, RGB))

        def frames() -> Iterator[np.ndarray]:
            count = 0
            for frame in reader.taken(picks.numbers):
                count += 1
                yield frame
            if count < len(picks.numbers):
                raise RowError(
                    f"{where}: the video has {reader.length()} frames, but one of {len(picks.numbers)} takes the first "
                    f"{picks.numbers[-1] + 1}."
                )

        yield frames()
