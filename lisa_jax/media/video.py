"""Videos as a medium: MP4, GIF, or folders of PNG frames, of uint8 (F, H, W, 3)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lisa_jax.media.grid import labelled_grid
from lisa_jax.media.medium import Medium

# Frames a second of what does not say its own.
DEFAULT_FPS = 7.0
# Of a clip on a sheet, so that those of several columns can still be seen.
_FRAMES_SHOWN = 4


def mirror(video: np.ndarray) -> np.ndarray:
    """(F, H, W, c) with left and right exchanged, a view."""
    return video[..., ::-1, :]


def sheet(
    columns: Mapping[str, Sequence[np.ndarray]], cell: int = 128, blocks: int = 1, captions: Sequence[str] = ()
) -> np.ndarray:
    """See `Medium.sheet`: of each clip four frames at most, evenly apart from the first to the last, side by side.

    A column is labelled by its own name and the number of the frame within the first clip.
    """
    count = len(next(iter(columns.values()))[0])
    shares = np.linspace(0, 1, min(count, _FRAMES_SHOWN))
    frames = {
        f"{label} {round(share * (count - 1))}": [clip[round(share * (len(clip) - 1))] for clip in clips]
        for label, clips in columns.items()
        for share in shares
    }
    return labelled_grid(frames, cell, blocks, captions)


def moving(
    columns: Mapping[str, Sequence[np.ndarray]],
    cell: int = 128,
    blocks: int = 1,
    captions: Sequence[str] = (),
    fps: float | None = None,
) -> bytes:
    """See `Medium.moving`: grids, each of one frame of all clips; the last frame of shorter ones stays."""
    from lisa_jax.media.animation import encoded_gif

    count = max(len(clip) for clips in columns.values() for clip in clips)

    def grid(number: int) -> np.ndarray:
        frames = {label: [clip[min(number, len(clip) - 1)] for clip in clips] for label, clips in columns.items()}
        return labelled_grid(frames, cell, blocks, captions)

    return encoded_gif(np.stack([grid(number) for number in range(count)]), fps or DEFAULT_FPS)


def write(path: Path, video: np.ndarray, fps: float | None = None) -> None:
    """Write a clip (F, H, W, 1 to 4), by its suffix as MP4 or GIF, or without one as a folder of PNG frames.

    It has its name only when it is whole. Folders of frames keep every bit, and no frames a second.

    Raises:
      NoVideoError: an MP4, and PyAV is not installed.
      ValueError: another suffix.
    """
    from lisa_jax.media import animation, frame_files, video_file

    fps = fps or DEFAULT_FPS
    match path.suffix:
        case ".mp4":
            video_file.write(path, video, fps)
        case ".gif":
            animation.write(path, video, fps)
        case "":
            frame_files.write(path, video)
        case _:
            raise ValueError(f"{path}: videos are written as .mp4, .gif or folders of frames.")


def read(path: Path) -> np.ndarray:
    """A clip, uint8 (F, H, W, 3), of whatever kind it is; raises PictureError as `open_clip` does."""
    from lisa_jax.media.open_clip import read_clip

    return read_clip(path, str(path))


def check_writes(suffix: str) -> None:
    """Raise NoVideoError where files of a suffix cannot be written, because PyAV is not installed."""
    from lisa_jax.media import video_file

    if suffix == ".mp4":
        video_file.check_installed()


VIDEO = Medium("clip", 3, {"mp4": ".mp4", "gif": ".gif", "png": ""}, mirror, sheet, write, read, moving, check_writes)
