"""Probes of a study's cells, with a laboratory of toys."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.families.pixels import PIXELS
from lisa_jax.probing import study_cells
from lisa_jax.probing.study_cells import CellProbes, probe_study
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.programs import Examples
from lisa_jax.studies.results import Results
from lisa_jax.studies.saved import save_trainable

IDENTITY = {"base": "b", "data": "d", "code": "c"}


class ToyLaboratory:
    """Of a Laboratory, what probes read; counts what is computed anew."""

    def __init__(self, toy):
        self._toy, self._family, self.initialised = toy, toy.make_family(latents=PIXELS), []

    def family(self, cell):
        return self._family

    def rows(self, split, task):
        found = self._toy.pictures(split, {"train": 40, "test": 8}[split], {"train": 0, "test": 1}[split])
        return Examples(found.latents, found.context, jnp.asarray(found.condition))

    def initial_state(self, cell):
        self.initialised.append(cell.seed)
        return SimpleNamespace(params={"side": {"gain": jnp.float32(0)}})


def cell(lam, seed, hook="down_0"):
    return Cell("lineart", lam, 1e-3, seed, 4, 20, hook)


TRAINABLE = {"side": {"gain": jnp.float32(1)}, "decoder": {"gain": jnp.float32(0)}}


@pytest.fixture(scope="module")
def laboratory(toy):
    return ToyLaboratory(toy)


def test_a_study_is_probed_cell_by_cell_and_continued(laboratory, tmp_path, monkeypatch):
    monkeypatch.setattr(study_cells, "study_laboratory", lambda config, data_file: (laboratory, IDENTITY))
    results, cells = Results(tmp_path, IDENTITY), [cell(0.0, 0), cell(0.2, 0), cell(0.2, 1)]
    for one in cells:
        results.append(one, {"curve": []})
        save_trainable(tmp_path, one.id, TRAINABLE if one.lam else {"side": TRAINABLE["side"]})

    plain, lisa = probe_study(tmp_path, None, None, done={cells[2].id})
    assert (plain["id"], lisa["id"]) == (cells[0].id, cells[1].id)
    # The same step 0, whose scores are computed once.
    assert laboratory.initialised == [0]
    assert {**plain["setting"]} == {**lisa["setting"]}
    assert plain["setting"] == {"learning_rate": 1e-3, "batch_size": 4, "num_steps": 20, "compute_dtype": "float32"}
    assert (lisa["lam"], lisa["hook"], lisa["task"], lisa["step"], lisa["seed"]) == (0.2, "down_0", "lineart", 20, 0)
    assert plain["alignment"] == {} and lisa["alignment"]["weighting"] == "uniform"
    assert plain["pictures"] == {"fit": 30, "validation": 10, "test": 8}
    condition = [row for row in lisa["rows"] if row["target"] == "condition" and row["feature"] == "down_0"]
    assert len(condition) == 5 and all(row["r2"] > 0.999 and row["untrained"] < 0.1 for row in condition)
    assert plain["decoder"][0]["r2"] is None and lisa["decoder"][0]["r2"] == pytest.approx(0, abs=1e-6)
    json.dumps([plain, lisa], allow_nan=False)


def test_other_data_than_the_study_had_is_refused(laboratory, tmp_path, monkeypatch):
    monkeypatch.setattr(study_cells, "study_laboratory", lambda *_: (laboratory, IDENTITY | {"data": "other"}))
    Results(tmp_path, IDENTITY).append(cell(0.0, 0), {"curve": []})
    with pytest.raises(ValueError, match="results of another data than the config names"):
        next(probe_study(tmp_path, None, None))


def test_networks_that_were_not_saved_are_missed(laboratory, tmp_path, monkeypatch):
    monkeypatch.setattr(study_cells, "study_laboratory", lambda *_: (laboratory, IDENTITY))
    Results(tmp_path, IDENTITY).append(cell(0.0, 0), {"curve": []})
    with pytest.raises(FileNotFoundError, match="save_side"):
        next(probe_study(tmp_path, None, None))


def test_pictures_are_drawn_from_the_whole_split_and_keep_their_own_condition(laboratory):
    pictures = CellProbes(laboratory)._make_pictures("lineart")
    chosen = np.concatenate([pictures.fit.index, pictures.validation.index])
    assert sorted(chosen) == list(range(40)) and list(chosen) != sorted(chosen)
    rows = laboratory.rows("train", "lineart")
    np.testing.assert_array_equal(pictures.fit.condition, rows.condition[pictures.fit.index])
    np.testing.assert_array_equal(pictures.fit.latents, rows.moments[pictures.fit.index])
