import dataclasses
import json

import pytest

from lisa_jax.studies.fields import FIELDS
from lisa_jax.studies.grid import Cell, cells_of, read_cell

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
    assert [(cell.seed, cell.lam, cell.hooks) for cell in cells] == [
        (0, 0.0, ()),
        (0, 0.2, ("down_3",)),
        (1, 0.0, ()),
        (1, 0.2, ("down_3",)),
        (0, 0.2, ("mid",)),
    ]
    assert len({cell.id for cell in cells}) == 5


def test_plain_training_is_one_cell_whatever_its_hook():
    cells = cells_of([{"lam": 0.0, "hook": ("mid", "down_3"), "lam_stop_step": (None, 2)}], DEFAULTS)
    assert cells == [read_cell(DEFAULTS | {"lam": 0.0, "hook": None})]


def test_every_field_counts_for_the_id():
    assert list(FIELDS) == [field.name for field in dataclasses.fields(Cell)]
    cell = read_cell(DEFAULTS)
    changed = [
        dataclasses.replace(cell, **{name: value})
        for name, value in {
            "task": "lowres",
            "lam": 0.5,
            "learning_rate": 1e-4,
            "seed": 3,
            "batch_size": 4,
            "num_steps": 8,
            "lam_decay_steps": 2,
            "lam_stop_step": 2,
            "compute_dtype": "bfloat16",
            "align_every": 4,
            "decoder_width": 2.0,
            "weighting": "low_noise",
            "decoder_rate": 4.0,
            "fresh_rate": 10.0,
            "condition_init": "default",
            "zero_convolution_scale": 0.1,
            "optimizer": "lion",
            "b1": 0.8,
            "b2": 0.99,
            "weight_decay": 0.1,
            "clip_norm": 2.0,
            "eps": 1e-12,
            "schedule": "cosine",
            "ema_decay": 0.99,
            "hooks": ("down_3", "mid"),
        }.items()
    ]
    faster = dataclasses.replace(cell, fresh_rate=10.0)
    changed += [
        dataclasses.replace(faster, fresh_layers="zero_convolutions"),
        dataclasses.replace(faster, fresh_steps=9),
    ]
    assert len(changed) == len(FIELDS) and len({cell.id, *(other.id for other in changed)}) == len(FIELDS) + 1


def test_ids_of_committed_results_are_still_theirs(request):
    files = sorted((request.config.rootpath / "docs" / "results").glob("*/results.jsonl"))
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()[1:]]
    assert len(files) > 3 and len(rows) > 80
    assert [read_cell(row["cell"]).id for row in rows] == [row["id"] for row in rows]


def test_a_row_older_than_a_field_has_its_usual_value_and_plain_training_too():
    fields = read_cell(DEFAULTS | {"align_every": 4}).written()
    old = {name: value for name, value in fields.items() if name not in ("align_every", "lam_stop_step")}
    assert read_cell(old).align_every == 1 and read_cell(old).lam_stop_step is None
    assert read_cell(fields).plain == read_cell(old).plain == read_cell(DEFAULTS | {"lam": 0.0})


def test_equal_numbers_are_one_cell_however_they_are_written():
    whole, decimal = (read_cell(DEFAULTS | {"lam": lam, "decoder_rate": 2 * lam}) for lam in (1, 1.0))
    assert whole == decimal and whole.id == decimal.id


def test_several_hooks_are_one_value_however_they_are_written():
    cells = cells_of([{"hook": ("mid", "down_3,mid")}, {"hook": (("down_3", "mid"),)}], DEFAULTS)
    assert [cell.hooks for cell in cells] == [("mid",), ("down_3", "mid")]
    assert "_down_3+mid_" in cells[1].id
    assert (
        "lam0.2_mid_stop2_every4_width0.5_low_noise_rate4_lr"
        in read_cell(
            DEFAULTS
            | {"hook": "mid", "lam_stop_step": 2, "align_every": 4, "decoder_width": 0.5}
            | {"weighting": "low_noise", "decoder_rate": 4.0}
        ).id
    )


def test_what_does_nothing_makes_no_other_cell():
    assert read_cell(DEFAULTS | {"fresh_layers": "zero_convolutions", "fresh_steps": 9}) == read_cell(DEFAULTS)
    assert read_cell(DEFAULTS | {"fresh_rate": 2, "fresh_steps": 9}) != read_cell(DEFAULTS | {"fresh_rate": 2})


def test_a_cell_comes_back_from_its_row():
    cells = cells_of([{"hook": ("mid", "down_3,mid"), "lam": (0.0, 0.2)}], DEFAULTS)
    written = [json.loads(json.dumps(cell.written())) for cell in cells]
    assert [fields["hook"] for fields in written] == [None, "mid", ["down_3", "mid"]]
    assert [read_cell(fields) for fields in written] == cells


def test_refusals():
    with pytest.raises(ValueError, match="Unknown field 'lamda'"):
        cells_of([{"lamda": 1.0}], DEFAULTS)
    for message, change in {
        "needs a hook": {"hook": None},
        "Hook 'mid,' is no name": {"hook": "mid,"},
        "Unknown weighting 'snr' .* likelihood_score, high_noise, low_noise": {"weighting": "snr"},
        "name its conditions once each and in order, lineart.lowres": {"task": "lowres+lineart"},
        "align_every 0 must be": {"align_every": 0},
        "decoder_width 0.0 and": {"decoder_width": 0},
        "lam_stop_step is 0": {"lam_stop_step": 0},
        "lam_decay_steps is -1": {"lam_decay_steps": -1},
        "decoder_rate -1.0 positive": {"decoder_rate": -1},
    }.items():
        with pytest.raises(ValueError, match=message):
            read_cell(DEFAULTS | change)
