import dataclasses
import json

import pytest

from lisa_jax.studies.grid import Cell, cells_of

DEFAULTS = {
    "task": "lineart",
    "lam": 0.2,
    "hook": "down_3",
    "learning_rate": 1e-3,
    "seed": 0,
    "batch_size": 8,
    "num_steps": 4,
}


def test_tuples_are_crossed_and_the_order_is_kept():
    cells = cells_of([{"seed": (0, 1), "lam": (0.0, 0.2)}, {"hook": "mid"}], DEFAULTS)
    assert [(cell.seed, cell.lam, cell.hook) for cell in cells] == [
        (0, 0.0, None),
        (0, 0.2, "down_3"),
        (1, 0.0, None),
        (1, 0.2, "down_3"),
        (0, 0.2, "mid"),
    ]
    assert len({cell.id for cell in cells}) == 5


def test_plain_training_is_one_cell_whatever_its_hook():
    cells = cells_of([{"lam": 0.0, "hook": ("mid", "down_3"), "lam_stop_step": (None, 2)}], DEFAULTS)
    assert cells == [Cell(**DEFAULTS | {"lam": 0.0, "hook": None})]


def test_every_field_counts_for_the_id():
    cell = Cell(**DEFAULTS)
    changed = [
        dataclasses.replace(cell, **{name: value})
        for name, value in {
            "lam": 0.5,
            "seed": 3,
            "num_steps": 8,
            "lam_stop_step": 2,
            "compute_dtype": "bfloat16",
            "align_every": 4,
            "decoder_width": 2.0,
            "weighting": "low_noise",
            "decoder_rate": 4.0,
            "hook": ("down_3", "mid"),
        }.items()
    ]
    assert len({cell.id, *(other.id for other in changed)}) == 11


def test_ids_of_committed_results_are_still_theirs(request):
    file = request.config.rootpath / "docs" / "results" / "openmoji_regimes" / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    assert len(rows) > 10
    assert [Cell(**row["cell"]).id for row in rows] == [row["id"] for row in rows]


def test_equal_numbers_are_one_cell_however_they_are_written():
    whole, decimal = (Cell(**DEFAULTS | {"lam": lam, "decoder_rate": 2 * lam}) for lam in (1, 1.0))
    assert whole == decimal and whole.id == decimal.id


def test_several_hooks_are_one_value_however_they_are_written():
    cells = cells_of([{"hook": ("mid", "down_3,mid")}, {"hook": (("down_3", "mid"),)}], DEFAULTS)
    assert [cell.hook for cell in cells] == ["mid", ("down_3", "mid")]
    assert "_down_3+mid_" in cells[1].id
    assert (
        "lam0.2_mid_stop2_every4_width0.5_low_noise_rate4_lr"
        in Cell(
            **DEFAULTS | {"hook": "mid", "lam_stop_step": 2},
            **{"align_every": 4, "decoder_width": 0.5, "weighting": "low_noise", "decoder_rate": 4.0},
        ).id
    )
    assert Cell(**json.loads(json.dumps(dataclasses.asdict(cells[1])))) == cells[1]


def test_refusals():
    with pytest.raises(ValueError, match="Unknown field 'lamda'"):
        cells_of([{"lamda": 1.0}], DEFAULTS)
    for message, change in {
        "needs a hook": {"hook": None},
        "Unknown weighting 'snr' .* likelihood_score, high_noise, low_noise": {"weighting": "snr"},
        "name its conditions once each and in order, lineart.lowres": {"task": "lowres+lineart"},
        "align_every 0 must be": {"align_every": 0},
        "decoder_width 0.0 and": {"decoder_width": 0},
        "lam_stop_step is 0": {"lam_stop_step": 0},
        "lam_decay_steps is -1": {"lam_decay_steps": -1},
        "decoder_rate -1.0 positive": {"decoder_rate": -1},
    }.items():
        with pytest.raises(ValueError, match=message):
            Cell(**DEFAULTS | change)
