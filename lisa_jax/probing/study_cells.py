"""Probes of a study's cells, from the networks that the study saved."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from lisa_jax.dual_branch import Params
from lisa_jax.experiments.control import alignment_of, objective_of
from lisa_jax.probing.instrument import Instrument, Scores
from lisa_jax.probing.pictures import ProbePictures
from lisa_jax.probing.split_pictures import split_pictures
from lisa_jax.studies.fields import ALIGNMENT_FIELDS, RUN_FIELDS, in_ids
from lisa_jax.studies.grid import Cell, written_hook
from lisa_jax.studies.identity import study_identity
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.studies.results import read_folder, read_rows
from lisa_jax.studies.saved import load_trainable

# Fields that a run shares with those that it is compared with.
SETTING = tuple(name for name in RUN_FIELDS if name not in ("task", "seed"))


def probe_study(folder: str | Path, config: ConfigDict, done: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Probe the finished cells of a study one by one, and yield their lines, see `records`.

    Args:
      folder: of the results and the saved networks.
      config: of the study.
      done: ids of cells to leave out.

    Raises:
      FileNotFoundError: no results, or a cell whose networks were not saved.
      ValueError: the study's base or data are not those that the config names.
    """
    rows = [row for row in read_folder(folder).values() if row["id"] not in done]
    if not rows:
        return
    laboratory = Laboratory(config)
    _check_identity(folder, study_identity(laboratory))
    probes = CellProbes(laboratory)
    for row in rows:
        yield probes.record(row["cell"], row["id"], load_trainable(folder, row["id"]))


class CellProbes:
    """Probes of cells; those of one task share their pictures, and of one seed what is said of step 0."""

    def __init__(self, laboratory: Laboratory):
        self._laboratory = laboratory
        self._pictures: dict[str, ProbePictures] = {}
        self._instruments: dict[str, Instrument] = {}
        self._untrained: dict[tuple[str, int], Scores] = {}

    def record(self, cell: Cell, cell_id: str, trainable: Mapping[str, Params]) -> dict[str, Any]:
        """The line of a finished cell."""
        run = {
            "id": cell_id,
            "lam": cell.lam,
            "hook": written_hook(cell.hooks),
            "task": cell.task,
            "step": cell.num_steps,
            "seed": cell.seed,
            "setting": {name: value for name, value in in_ids(cell).items() if name in SETTING},
            "alignment": {n: getattr(cell, n) for n in ALIGNMENT_FIELDS if n not in ("lam", "hooks") and cell.lam},
        }
        align = alignment_of(self._laboratory.training(cell), self._laboratory.family(cell).model)
        return self._instrument(cell).record(self._scores_at_start(cell.plain), trainable, align, run)

    def _instrument(self, cell: Cell) -> Instrument:
        of_split, of_family = self._laboratory.networks(cell, born=False), self._laboratory.networks(cell)
        if of_split not in self._pictures:
            self._pictures[of_split] = split_pictures(partial(self._laboratory.split, cell))
        if of_family not in self._instruments:
            family = self._laboratory.family(cell)
            objective = objective_of(self._laboratory.training(cell), family.process)
            self._instruments[of_family] = Instrument(family, objective, self._pictures[of_split])
        return self._instruments[of_family]

    def _scores_at_start(self, cell: Cell) -> Scores:
        key = (self._laboratory.networks(cell), cell.seed)
        if key not in self._untrained:
            self._untrained[key] = self._instrument(cell).scores(self._laboratory.initial_state(cell).params["side"])
        return self._untrained[key]


def _check_identity(folder: str | Path, identity: Mapping[str, Any]) -> None:
    for path in sorted(Path(folder).glob("*.jsonl")):
        found, _ = read_rows(path)
        for name in ("base", "data"):
            if found is not None and found.get(name) != identity[name]:
                raise ValueError(
                    f"{path} has results of another {name} than the config names: give the --config that the study ran "
                    "with."
                )
