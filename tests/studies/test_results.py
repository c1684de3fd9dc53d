import dataclasses

import pytest

from lisa_jax.studies.grid import Cell
from lisa_jax.studies.results import Results

CELL = Cell("lineart", 0.2, 1e-3, 0, 8, 4, "down_3")
OTHER = dataclasses.replace(CELL, seed=1)
IDENTITY = {"code": "a", "protocol": {"draws": 2, "sample_at": (1, 2)}}


def test_rows_come_back_from_all_files(tmp_path):
    Results(tmp_path, IDENTITY).append(CELL, {"curve": []})
    second = Results(tmp_path, IDENTITY, file="cell_1")
    second.append(OTHER, {"curve": []})
    rows = second.rows()
    assert set(rows) == {CELL.id, OTHER.id}
    assert rows[OTHER.id]["cell"] == OTHER


def test_refuses_to_mix_studies(tmp_path):
    Results(tmp_path, IDENTITY).append(CELL, {})
    with pytest.raises(ValueError, match="another study: code, protocol differ"):
        Results(tmp_path, {"code": "b", "protocol": {"draws": 4}}, file="mine")


def test_half_a_line_of_a_killed_process_is_dropped(tmp_path):
    results = Results(tmp_path, IDENTITY)
    results.append(CELL, {})
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text() + '{"id": "half')
    assert set(results.rows()) == {CELL.id}
    results.append(OTHER, {})
    assert set(results.rows()) == {CELL.id, OTHER.id}
