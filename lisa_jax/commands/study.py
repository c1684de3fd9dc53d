"""Run a study: a grid of short training runs on one data set that stays in memory, measured on the way.

    python -m lisa_jax study --config=configs/studies/main_openmoji.py --out=DIR [--cell=3] [--minutes=60]
    python -m lisa_jax study --config=... --out=DIR --list
    python -m lisa_jax study --config=... --out=DIR --summary

The first form runs every cell that has no result in DIR yet, most important first; with --cell one alone (a cluster's
array task: each writes a file of its own). The same command continues an interrupted study from the first cell that is
not finished. Results of other code, another base, other data or another protocol in DIR are refused. DIR also gets
grids of samples, references.json (ceiling and floors of every measure), with --config.extractor.name distances of all
samples to real pictures (quality/) and, with --config.save_side, the networks.
"""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._flags import DEFINE_checked, Folder
from lisa_jax.commands._run import run_command
from lisa_jax.experiments.kinds import Number, Whole
from lisa_jax.files.lock import Lock
from lisa_jax.studies.config_fields import MOST_CELLS, check_study
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.identity import study_identity
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.studies.quality import quality_meter, read_quality, with_quality
from lisa_jax.studies.results import Results, read_folder
from lisa_jax.studies.runner import (
    measure_finished,
    measure_references,
    run_cells,
    study_cells,
    write_references,
)
from lisa_jax.studies.summary import markdown

_LOG = logging.getLogger("lisa_jax")
_CONFIG = config_flags.DEFINE_config_file("config", None, "Config of the study.", lock_config=True)
_OUT = DEFINE_checked("out", None, "Folder of the results.", Folder())
_CELL = DEFINE_checked("cell", None, "Run this cell alone; numbers as --list shows them.", Whole(0, MOST_CELLS))
_MINUTES = DEFINE_checked(
    "minutes", None, "Stop after so many minutes; the cell under way is lost.", Number(least=0, most=1e6)
)
_LIST = flags.DEFINE_bool("list", False, "List the cells and leave.")
_SUMMARY = flags.DEFINE_bool("summary", False, "Print tables of the results in --out and leave.")


def main() -> None:
    deadline = math.inf if _MINUTES.value is None else time.monotonic() + 60 * _MINUTES.value
    config = check_study(_CONFIG.value)
    cells = study_cells(config)
    if _LIST.value:
        for number, cell in enumerate(cells):
            print(number, cell.id, f"{cell.num_steps} steps")
        return
    if _SUMMARY.value:
        rows = with_quality(read_folder(_OUT.value).values(), read_quality(_OUT.value))
        print(markdown(rows), end="")
        return
    if _CELL.value is not None:
        if _CELL.value >= len(cells):
            raise ValueError(f"--cell is {_CELL.value}, but the study has the cells 0 to {len(cells) - 1}.")
        cells = [cells[_CELL.value]]

    laboratory = Laboratory(config)
    file = "results" if _CELL.value is None else f"cell_{_CELL.value}"
    results = Results(_OUT.value, study_identity(laboratory), file)
    doing = f"running this study in {_OUT.value}" if _CELL.value is None else f"running cell {_CELL.value}"
    with Lock(Path(_OUT.value) / f".{file}.lock", doing, "wait for it, or give another --out"):
        _run(laboratory, cells, results, deadline)
    _LOG.info("Results are in %s; --summary prints them as tables.", _OUT.value)


def _run(laboratory: Laboratory, cells: Sequence[Cell], results: Results, deadline: float) -> None:
    config = laboratory.config
    tasks = [cell.task for cell in cells]
    # Before anything that takes time, for its network may be missing.
    meter = quality_meter(config, laboratory.train_pictures, _OUT.value)
    write_references(laboratory, tasks, _OUT.value)
    if meter is not None:
        measure_references(laboratory, tasks, meter)
        measure_finished(laboratory, cells, results, meter)
    run_cells(laboratory, cells, results, deadline, meter)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "out"])
    run_command(main, kept="leaving; finished cells are kept, and the same command goes on with the next one.")
