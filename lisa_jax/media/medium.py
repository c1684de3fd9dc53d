"""What pipeline, grids, writers and trackers ask of whatever a family samples: pictures or clips."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Medium:
    """A kind of sample, uint8 (*space, 3), and of condition, uint8 (*space, c).

    Attributes:
      unit: what one is called where they are counted: "image" or "clip".
      axes: how many space has: 2 of pictures (H, W), 3 of clips (F, H, W).
      formats: name of each format -> suffix of the files that hold one, with its dot, or "" for a folder. The first is
        the usual one, and "png" keeps every bit.
      mirror: left and right exchanged; takes any array (*space, c), so that it serves conditions too.
      sheet: columns of examples by label, n of uint8 (*space, c) each, of any sizes -> one picture (H, W, 3) of them;
        takes `cell`, the longer side of an example on it, `blocks`, how many rows of examples stand side by side, and
        `captions`, one for each example, or none.
      write: (path, sample or condition, fps=None) writes a file, which has its name only when it is whole, in the
        format that its suffix says; `fps`, frames a second, is of what has frames.
      read: path -> sample.
      moving: what `sheet` takes, and `fps` -> an animated GIF, encoded, of such sheets; None where nothing moves.
      check_writes: suffix -> None; raises ValueError where what writing it needs is not installed.
    """

    unit: str
    axes: int
    formats: Mapping[str, str]
    mirror: Callable[[np.ndarray], np.ndarray]
    sheet: Callable[..., np.ndarray]
    write: Callable[..., None]
    read: Callable[[Path], np.ndarray]
    moving: Callable[..., bytes] | None = None
    check_writes: Callable[[str], None] = lambda suffix: None

    @property
    def suffix(self) -> str:
        """That of the usual format."""
        return next(iter(self.formats.values()))

    def in_format(self, name: str | None) -> "Medium":
        """The same in one format alone, None: the usual one.

        Raises:
          ValueError: there is no such format, or what writing it needs is not installed.
        """
        name = next(iter(self.formats)) if name is None else name
        if name not in self.formats:
            raise ValueError(f"There is no format {name!r} of what this base makes: give {' or '.join(self.formats)}.")
        self.check_writes(self.formats[name])
        return dataclasses.replace(self, formats={name: self.formats[name]})
