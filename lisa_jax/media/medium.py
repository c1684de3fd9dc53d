"""What pipeline, grids, writers and trackers ask of whatever a family samples: pictures now, video when it comes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Medium:
    """A kind of sample, uint8 (*space, 3), and of condition, uint8 (*space, c).

    Attributes:
      suffix: of the files that hold one, with its dot.
      mirror: left and right exchanged; takes any array (*space, c), so that it serves conditions too.
      sheet: columns of examples by label, n of uint8 (*space, c) each, of any sizes -> one picture (H, W, 3) of them;
        takes `cell`, the longer side of an example on it, `blocks`, how many rows of examples stand side by side, and
        `captions`, one for each example, or none.
      write: (path, sample or condition) writes a file, which has its name only when it is whole.
      read: path -> sample.
    """

    suffix: str
    mirror: Callable[[np.ndarray], np.ndarray]
    sheet: Callable[..., np.ndarray]
    write: Callable[[Path, np.ndarray], None]
    read: Callable[[Path], np.ndarray]
