"""Running the cells of a study in order, continuing where an earlier call stopped."""

import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.studies.grid import Cell, cells_of
from lisa_jax.studies.json_file import change_json, read_json
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.studies.pictures import write_grid
from lisa_jax.studies.quality import QualityMeter
from lisa_jax.studies.results import Results
from lisa_jax.studies.saved import load_trainable, save_trainable, trainable_path
from lisa_jax.studies.trial import run_cell

_LOG = logging.getLogger("lisa_jax")
REFERENCES = "references.json"
SAMPLES = "samples"


def study_cells(config: ConfigDict) -> list[Cell]:
    """The cells that a study's config declares, most important first."""
    return cells_of([grid.to_dict() for grid in config.grids], config.defaults.to_dict())


def write_references(laboratory: Laboratory, tasks: Sequence[str], folder: str | Path) -> None:
    """Write what results are compared with: `references.json`, task -> `Laboratory.references`, and pictures.

    A task that is there already is not done again. Beside the samples go `samples/<task>/condition.png`, for composed
    tasks `condition_<name>.png`, and `reference.png`, the real pictures; clips as `.webp`.
    """
    path = Path(folder) / REFERENCES
    for task in dict.fromkeys(tasks):
        if task in read_json(path):
            continue
        _add_references(laboratory, task, path)


def _add_references(laboratory: Laboratory, task: str, path: Path) -> None:
    found, shown, pictures = laboratory.references(task), laboratory.shown(task), path.parent / SAMPLES / task
    fps = laboratory.fps(task)

    def with_these(before: dict[str, Any]) -> dict[str, Any]:
        for name, rows in shown.conditions.items():
            write_grid(pictures, f"condition_{name}" if len(shown.conditions) > 1 else "condition", rows, fps)
        write_grid(pictures, "reference", shown.references, fps)
        return before | {task: found}

    # The pictures too: processes of a cluster, one at a time within a change, may write the same ones.
    change_json(path, with_these)


def measure_references(laboratory: Laboratory, tasks: Sequence[str], meter: QualityMeter) -> None:
    """Measure what the quality of samples is compared with: real test pictures, and samples without control."""
    for task in dict.fromkeys(tasks):
        if not meter.has(task, "no control"):
            meter.measure(task, "real", laboratory.shown(task).references)
            meter.measure(task, "no control", laboratory.sample_uncontrolled(task))


def measure_finished(laboratory: Laboratory, cells: Sequence[Cell], results: Results, meter: QualityMeter) -> None:
    """Measure the last samples of finished cells where that was not done and their networks were saved."""
    done = results.rows()
    for cell in cells:
        saved = trainable_path(results.folder, cell.id).is_file()
        if cell.id in done and saved and not meter.has(cell.id, cell.num_steps):
            side = load_trainable(results.folder, cell.id)["side"]
            meter.measure(cell.id, cell.num_steps, laboratory.sample(cell, side))


def run_cells(
    laboratory: Laboratory,
    cells: Sequence[Cell],
    results: Results,
    deadline: float = math.inf,
    meter: QualityMeter | None = None,
) -> None:
    """Run the cells that have no row yet.

    Each leaves its row, grids of samples in `samples/<cell id>/<step>.png`, of clips `.webp`, and, with
    `config.save_side`, its networks (see `saved`).

    Args:
      laboratory: what the cells share.
      cells: in this order.
      results: where rows go, and beside them the rest.
      deadline: time.monotonic at which to stop; a cell that is not finished then leaves no row.
      meter: measures the samples, too.
    """
    folder = results.folder
    saves = laboratory.config.save_side
    done = results.rows()
    remaining = [cell for cell in cells if cell.id not in done]
    for number, cell in enumerate(remaining, 1):
        begun = time.monotonic()
        result = run_cell(
            laboratory,
            cell,
            deadline,
            on_samples=partial(_keep_samples, folder, cell.id, laboratory.fps(cell.task), meter),
            on_trained=partial(save_trainable, folder, cell.id) if saves else _drop,
        )
        if result is None:
            _LOG.info("Out of time: %d of %d cells are left.", len(remaining) - number + 1, len(cells))
            return
        wall = time.monotonic() - begun
        results.append(cell, {**result, "seconds": wall, "device": jax.devices()[0].device_kind})
        last = result["curve"][-1]
        fidelity = {name: f"{last[name]:.4f}" for name in last if name.startswith("fidelity/")}
        _LOG.info(
            "%d/%d %s: validation loss %.4f, %s; %.1f s",
            number,
            len(remaining),
            cell.id,
            last["validation/main_loss"],
            ", ".join(f"{name.removeprefix('fidelity/')} {value}" for name, value in fidelity.items()),
            wall,
        )


def _keep_samples(
    folder: Path, cell_id: str, fps: float | None, meter: QualityMeter | None, step: int, samples: np.ndarray
) -> None:
    write_grid(folder / SAMPLES / cell_id, str(step), samples, fps)
    if meter is not None:
        meter.measure(cell_id, step, samples)


def _drop(_: Any) -> None:
    pass
