"""Previews: samples that training shows on the way, and that never end it."""

import logging
from collections.abc import Callable

import numpy as np

from lisa_jax.dual_branch import Params
from lisa_jax.sampling.generate import NonFiniteSampleError
from lisa_jax.training.experiment import Report

_LOG = logging.getLogger("lisa_jax")


def previews(draw: Callable[[Params, Params], np.ndarray]) -> Callable[[Params, Params], Report]:
    """An evaluation that shows what `draw` makes of (params, frozen), uint8 (H, W, 3); nothing of samples of NaN."""

    def run(params: Params, frozen: Params) -> Report:
        try:
            return Report(images={"samples": draw(params, frozen)})
        except NonFiniteSampleError as error:
            _LOG.warning("There is no preview: %s", error)
            return Report()

    return run
