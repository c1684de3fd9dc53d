"""Probes of a study's cells, with a laboratory of toys."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from toys.study import study_config, toy_base

from lisa_jax.probing import study_cells
from lisa_jax.probing.split_pictures import split_pictures
from lisa_jax.probing.study_cells import probe_study
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.identity import study_identity
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.studies.results import Results
from lisa_jax.studies.saved import save_trainable

PLAIN, LISA, OTHER_SEED = (Cell("lowres", lam, 1e-3, seed, 4, 20, "mid") for lam, seed in ((0, 0), (0.2, 0), (0.2, 1)))


@pytest.fixture(scope="module")
def laboratory(tiny_data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LISA_JAX_DATA", str(tiny_data))
        yield Laboratory(study_config(), toy_base)


@pytest.fixture
def study(laboratory, tmp_path, monkeypatch):
    """A folder with the rows and networks of three cells; their networks do not see the condition."""
    monkeypatch.setattr(study_cells, "Laboratory", lambda config: laboratory)
    results = Results(tmp_path, study_identity(laboratory))
    for cell in (PLAIN, LISA, OTHER_SEED):
        results.append(cell, {"curve": []})
        params = jax.device_get(laboratory.initial_state(cell).params)
        trunk = {"x_t": np.ones(3, np.float32), "condition": np.zeros(3, np.float32)}
        save_trainable(tmp_path, cell.id, params | {"side": {"lowres": params["side"]["lowres"] | {"trunk": trunk}}})
    return tmp_path


def test_a_study_is_probed_cell_by_cell_and_continued(laboratory, study, monkeypatch):
    initialised, initial_state = [], laboratory.initial_state
    monkeypatch.setattr(laboratory, "initial_state", lambda cell: initialised.append(cell) or initial_state(cell))
    plain, lisa = probe_study(study, laboratory.config, done={OTHER_SEED.id})
    assert (plain["id"], lisa["id"]) == (PLAIN.id, LISA.id)
    # The same step 0, whose scores are computed once.
    assert initialised == [PLAIN]
    setting = {"learning_rate": 1e-3, "batch_size": 4, "num_steps": 20, "compute_dtype": "float32"}
    assert plain["setting"] == lisa["setting"] == setting
    assert (lisa["lam"], lisa["hook"], lisa["task"], lisa["step"], lisa["seed"]) == (0.2, "mid", "lowres", 20, 0)
    assert plain["alignment"] == {} and lisa["alignment"]["weighting"] == "uniform"
    # All of the tiny data.
    assert plain["pictures"] == {"fit": 56, "validation": 18, "test": 7}
    condition = [row for row in lisa["rows"] if row["target"] == "condition" and row["feature"] == "down_0"]
    assert len(condition) == 5 and all(row["r2"] < 0.99 < row["untrained"] for row in condition)
    assert plain["decoder"][0]["r2"] is None and lisa["decoder"][0]["r2"] is not None
    json.dumps([plain, lisa], allow_nan=False)


def test_shares_are_of_all_rows_where_training_aligned_some(laboratory, study):
    cell = Cell("lowres", 0.2, 1e-3, 0, 4, 20, "mid", align_every=4)
    Results(study, study_identity(laboratory)).append(cell, {"curve": []})
    save_trainable(study, cell.id, jax.device_get(laboratory.initial_state(cell).params))
    save_trainable(study, LISA.id, jax.device_get(laboratory.initial_state(LISA).params))
    # Seven test pictures, which four does not divide.
    every_row, some_rows = probe_study(study, laboratory.config, done={PLAIN.id, OTHER_SEED.id})
    assert every_row["decoder"] == some_rows["decoder"]


def test_what_is_unusual_in_training_is_part_of_the_setting(laboratory, study):
    cell = dataclasses.replace(PLAIN, eps=1e-12)
    Results(study, study_identity(laboratory)).append(cell, {"curve": []})
    save_trainable(study, cell.id, jax.device_get(laboratory.initial_state(cell).params))
    (line,) = probe_study(study, laboratory.config, done={PLAIN.id, LISA.id, OTHER_SEED.id})
    assert line["setting"]["eps"] == 1e-12 and "fresh_rate" not in line["setting"]


def test_other_data_than_the_study_had_is_refused(laboratory, study, monkeypatch):
    identity = study_identity(laboratory)
    monkeypatch.setattr(study_cells, "study_identity", lambda laboratory: identity | {"data": "other"})
    with pytest.raises(ValueError, match="results of another data than the config names"):
        next(probe_study(study, laboratory.config))


def test_networks_that_were_not_saved_are_missed(laboratory, study):
    (study / "side" / f"{PLAIN.id}.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="save_side"):
        next(probe_study(study, laboratory.config))


def test_pictures_are_drawn_from_the_whole_split_and_keep_their_own_condition(laboratory):
    pictures = split_pictures(lambda name: laboratory.split(LISA, name))
    chosen = np.concatenate([pictures.fit.index, pictures.validation.index])
    assert sorted(chosen) == list(range(74)) and list(chosen) != sorted(chosen)
    split = laboratory.split(LISA, "train")
    for place, index in enumerate(pictures.fit.index[:5]):
        inputs = split.make_inputs({"index": index})
        np.testing.assert_allclose(pictures.fit.condition["lowres"][place], inputs["condition"]["lowres"] / 255)
        np.testing.assert_allclose(pictures.fit.latents[place], inputs["image"] / 127.5 - 1, atol=1e-6)
