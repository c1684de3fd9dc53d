import dataclasses

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
        }.items()
    ]
    assert len({cell.id, *(other.id for other in changed)}) == 6


def test_refusals():
    with pytest.raises(ValueError, match="Unknown field 'lamda'"):
        cells_of([{"lamda": 1.0}], DEFAULTS)
    with pytest.raises(ValueError, match="needs a hook"):
        Cell(**DEFAULTS | {"hook": None})
