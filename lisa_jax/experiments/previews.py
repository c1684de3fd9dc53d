"""Previews: samples that training shows on the way, and that never end it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lisa_jax.dual_branch import Params
from lisa_jax.media.medium import Medium
from lisa_jax.sampling.generator import NonFiniteSampleError
from lisa_jax.training.experiment import Report

_LOG = logging.getLogger("lisa_jax")


class Shown(NamedTuple):
    """What stands on a preview.

    Attributes:
      columns: label -> examples uint8 (n, *space, c).
      captions: one for each example, or none.
      fps: frames a second of what has frames.
    """

    columns: Mapping[str, np.ndarray]
    captions: Sequence[str] = ()
    fps: float | None = None


def previews(draw: Callable[[Params, Params], Shown], medium: Medium) -> Callable[[Params, Params], Report]:
    """An evaluation that shows what `draw` makes of (params, frozen) on a sheet, and moving where it moves.

    Nothing is shown of samples of NaN.
    """

    def run(params: Params, frozen: Params) -> Report:
        try:
            shown = draw(params, frozen)
        except NonFiniteSampleError as error:
            _LOG.warning("There is no preview: %s", error)
            return Report()
        how = {"cell": 96, "blocks": 4, "captions": shown.captions}
        clips = {} if medium.moving is None else {"samples": medium.moving(shown.columns, fps=shown.fps, **how)}
        return Report(images={"samples": medium.sheet(shown.columns, **how)}, clips=clips)

    return run
