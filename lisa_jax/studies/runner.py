"""Running the cells of a study in order, continuing where an earlier call stopped."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from lisa_jax.studies.grid import Cell, cells_of, code_fingerprint
from lisa_jax.studies.results import Results
from lisa_jax.studies.trial import Laboratory, run_cell

_LOG = logging.getLogger("lisa_jax")
# What a config says beside its cells and what of it may change within one study.
NOT_IDENTITY = ("grids", "defaults", "base")


def study_cells(config: ConfigDict) -> list[Cell]:
    """The cells that a study's config declares, most important first."""
    return cells_of([grid.to_dict() for grid in config.grids], config.defaults.to_dict())


def study_identity(config: ConfigDict, base_fingerprint: str, data_fingerprint: str) -> dict[str, Any]:
    """All that two results must share to be compared."""
    protocol = {name: value for name, value in config.to_dict().items() if name not in NOT_IDENTITY}
    return {"code": code_fingerprint(), "base": base_fingerprint, "data": data_fingerprint, "protocol": protocol}


def run_cells(
    laboratory: Laboratory,
    cells: Sequence[Cell],
    results: Results,
    deadline: float = math.inf,
) -> None:
    """Run the cells that have no row yet.

    Args:
      deadline: time.monotonic at which to stop; a cell that is not finished then leaves nothing.
    """
    done = results.rows()
    remaining = [cell for cell in cells if cell.id not in done]
    for number, cell in enumerate(remaining, 1):
        begun = time.monotonic()
        result = run_cell(laboratory, cell, deadline)
        if result is None:
            _LOG.info("Out of time: %d of %d cells are left.", len(remaining) - number + 1, len(cells))
            return
        wall = time.monotonic() - begun
        results.append(cell, {**result, "seconds": wall, "device": jax.devices()[0].device_kind})
        last = result["curve"][-1]
        fidelity = {name: f"{last[name]:.4f}" for name in last if name.startswith("fidelity/")}
        _LOG.info(
            "%d/%d %s: validation loss %.4f, %s; %.1f s, %.2f ms a step",
            number,
            len(remaining),
            cell.id,
            last["validation/main_loss"],
            ", ".join(f"{name.removeprefix('fidelity/')} {value}" for name, value in fidelity.items()),
            wall,
            1e3 * result["seconds_per_step"],
        )
