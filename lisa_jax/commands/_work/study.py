"""What `lisa_jax study` does, once its flags are read."""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from lisa_jax.files.lock import Lock
from lisa_jax.studies.config_fields import check_study
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

FLAGS = flags.FLAGS
_LOG = logging.getLogger("lisa_jax")


def main() -> None:
    deadline = math.inf if FLAGS.minutes is None else time.monotonic() + 60 * FLAGS.minutes
    config = check_study(FLAGS.config)
    cells = study_cells(config)
    if FLAGS.list:
        for number, cell in enumerate(cells):
            print(number, cell.id, f"{cell.num_steps} steps")
        return
    if FLAGS.summary:
        rows = with_quality(read_folder(FLAGS.out).values(), read_quality(FLAGS.out))
        print(markdown(rows), end="")
        return
    if FLAGS.cell is not None:
        if FLAGS.cell >= len(cells):
            raise ValueError(f"--cell is {FLAGS.cell}, but the study has the cells 0 to {len(cells) - 1}.")
        cells = [cells[FLAGS.cell]]

    laboratory = Laboratory(config)
    file = "results" if FLAGS.cell is None else f"cell_{FLAGS.cell}"
    results = Results(FLAGS.out, study_identity(laboratory), file, config.title)
    doing = f"running this study in {FLAGS.out}" if FLAGS.cell is None else f"running cell {FLAGS.cell}"
    with Lock(Path(FLAGS.out) / f".{file}.lock", doing, "wait for it, or give another --out"):
        _run(laboratory, cells, results, deadline)
    _LOG.info("Results are in %s; --summary prints them as tables.", FLAGS.out)


def _run(laboratory: Laboratory, cells: Sequence[Cell], results: Results, deadline: float) -> None:
    config = laboratory.config
    tasks = [cell.task for cell in cells]
    # Before anything that takes time, for its network may be missing.
    meter = quality_meter(config, laboratory.train_pictures, FLAGS.out)
    write_references(laboratory, tasks, FLAGS.out)
    if meter is not None:
        measure_references(laboratory, tasks, meter)
        measure_finished(laboratory, cells, results, meter)
    run_cells(laboratory, cells, results, deadline, meter)
