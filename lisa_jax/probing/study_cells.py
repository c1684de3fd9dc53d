"""Probes of a study's cells, from the networks that the study saved."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params
from lisa_jax.probing.instrument import Instrument, Scores
from lisa_jax.probing.pictures import COUNTS, Pictures, ProbePictures, probe_pictures
from lisa_jax.studies.fields import ALIGNMENT_FIELDS, RUN_FIELDS
from lisa_jax.studies.grid import Cell, written_hook
from lisa_jax.studies.results import read_folder, read_rows
from lisa_jax.studies.saved import load_trainable
from lisa_jax.studies.setup import study_laboratory
from lisa_jax.studies.trial import Laboratory


def probe_study(
    folder: str | Path, config: ConfigDict, data_file: str | None, done: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """Probe the finished cells of a study one by one, and yield their lines, see `records`.

    Args:
      folder: of the results and the saved networks.
      config: of the study.
      data_file: see `study_laboratory`.
      done: ids of cells to leave out.

    Raises:
      FileNotFoundError: no results, or a cell whose networks were not saved.
      ValueError: the study's base or data are not those that the config names.
    """
    rows = [row for row in read_folder(folder).values() if row["id"] not in done]
    if not rows:
        return
    laboratory, identity = study_laboratory(config, data_file)
    _check_identity(folder, identity)
    probes = CellProbes(laboratory)
    for row in rows:
        yield probes.record(row["cell"], row["id"], load_trainable(folder, row["id"]))


class CellProbes:
    """Probes of cells; those of one task share their pictures, and of one seed what is said of step 0."""

    def __init__(self, laboratory: Laboratory):
        self._laboratory = laboratory
        self._pictures = cache(self._make_pictures)
        self._instruments: dict[tuple, Instrument] = {}
        self._untrained: dict[tuple, Scores] = {}

    def record(self, cell: Cell, cell_id: str, trainable: Mapping[str, Params]) -> dict[str, Any]:
        """The line of a finished cell."""
        hook = written_hook(cell.hooks)
        run = {
            "id": cell_id,
            "lam": cell.lam,
            "hook": hook,
            "task": cell.task,
            "step": cell.num_steps,
            "seed": cell.seed,
            "setting": {name: getattr(cell, name) for name in RUN_FIELDS if name not in ("task", "seed")},
            "alignment": {n: getattr(cell, n) for n in ALIGNMENT_FIELDS if n not in ("lam", "hooks") and cell.lam},
        }
        return self._instrument(cell).record(self._scores_at_start(cell.plain), trainable, hook, run)

    def _instrument(self, cell: Cell) -> Instrument:
        # What the family of a cell depends on.
        key = (cell.task, cell.compute_dtype, cell.decoder_width)
        if key not in self._instruments:
            self._instruments[key] = Instrument(self._laboratory.family(cell), self._pictures(cell.task))
        return self._instruments[key]

    def _scores_at_start(self, cell: Cell) -> Scores:
        key = (cell.task, cell.compute_dtype, cell.seed)
        if key not in self._untrained:
            self._untrained[key] = self._instrument(cell).scores(self._laboratory.initial_state(cell).params["side"])
        return self._untrained[key]

    def _make_pictures(self, task: str) -> ProbePictures:
        latents = self._laboratory.family(Cell(task, 0.0, 0.0, 0, 1, 1)).latents

        def pictures(split: str) -> Pictures:
            rows = self._laboratory.rows(split, task)
            index = np.random.default_rng(0).permutation(len(rows.moments))[: COUNTS[split]].astype(np.int32)
            chosen = jax.tree.map(lambda leaf: np.asarray(leaf)[index], rows)
            drawn = latents.sample(chosen.moments, jax.random.key(0))
            return Pictures(split, index, np.asarray(drawn), chosen.context, chosen.condition)

        return probe_pictures(pictures("train"), pictures("test"))


def _check_identity(folder: str | Path, identity: Mapping[str, Any]) -> None:
    for path in sorted(Path(folder).glob("*.jsonl")):
        found, _ = read_rows(path)
        for name in ("base", "data"):
            if found is not None and found.get(name) != identity[name]:
                raise ValueError(
                    f"{path} has results of another {name} than the config names: give the --config (and --data) that "
                    "the study ran with."
                )
