import dataclasses
import json

import pytest

from lisa_jax.studies.grid import Cell
from lisa_jax.studies.results import Results, read_folder, read_title

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


def test_a_title_is_kept_and_decides_nothing(tmp_path):
    Results(tmp_path, IDENTITY, title=" ").append(CELL, {"curve": []})
    assert read_title(tmp_path) == ""
    Results(tmp_path, IDENTITY, file="cell_1", title="main study").append(OTHER, {"curve": []})
    assert read_title(tmp_path) == "main study"
    assert len(Results(tmp_path, IDENTITY, title="another").rows()) == 2


def test_refuses_to_mix_studies(tmp_path):
    Results(tmp_path, IDENTITY).append(CELL, {})
    with pytest.raises(ValueError) as refused:
        Results(tmp_path, {"code": "b" * 64, "protocol": {"draws": 4, "sample_at": [1, 2]}}, file="mine")
    assert str(refused.value) == (
        f"{tmp_path / 'results.jsonl'} holds results of another study: code is another than it was; protocol.draws was "
        "2 and is 4 now. Use another --out."
    )


CELL_ROW = json.dumps({"id": "a", "cell": CELL.written(), "curve": [{"step": 1, "a": 0.5, "b": None}]})


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[]", "line 2 holds a JSON list"),
        ("{", "line 2 is not valid JSON"),
        ("{}", r"line 2 is no row of a study: its cell cannot be read \(KeyError: 'cell'\)"),
        (CELL_ROW.replace('"lam": 0.2', '"lam": null'), "line 2 is no row of a study: its cell"),
        (CELL_ROW.replace('"seed"', '"sede"'), "line 2 is no row of a study: its cell .*sede"),
        (CELL_ROW.replace('"seed": 0', '"seed": "../x"'), r"line 2: cell.seed is '../x'"),
        (CELL_ROW.replace('"step": 1', '"step": "1"'), "line 2 is no row of a study: it needs an id, and a curve"),
        (CELL_ROW.replace("0.5", "{}"), "line 2 is no row of a study: it needs"),
        (CELL_ROW.replace('"a"', "7", 1), "line 2 is no row of a study: it needs"),
    ],
)
def test_a_damaged_line_is_told_by_its_number(line, sentence, tmp_path):
    for text in (CELL_ROW, line):
        (tmp_path / "results.jsonl").write_text('{"identity": {}}\n' + text + "\n")
        if text is CELL_ROW:
            assert [*read_folder(tmp_path)] == ["a"]
    with pytest.raises(ValueError, match=f"results.jsonl {sentence}"):
        read_folder(tmp_path)


def test_half_a_line_of_a_killed_process_is_dropped(tmp_path):
    results = Results(tmp_path, IDENTITY)
    results.append(CELL, {})
    path = tmp_path / "results.jsonl"
    path.write_text(path.read_text() + '{"id": "half')
    assert set(results.rows()) == {CELL.id}
    results.append(OTHER, {})
    assert set(results.rows()) == {CELL.id, OTHER.id}
