"""Remedies beside the recipe: which run is compared with which, and what counts as the recipe's best."""

import dataclasses

import pytest

from lisa_jax.studies.grid import Cell
from lisa_jax.studies.pairs import find_arms
from lisa_jax.studies.remedies import at_the_best_rate, at_the_same_rate, recipe_of
from lisa_jax.studies.speedup import LOSS
from lisa_jax.studies.summary import markdown

PLAIN = Cell("lineart", 0.0, 1e-4, 0, 16, 300)
FRESH = dataclasses.replace(PLAIN, fresh_rate=10.0)
FIDELITY = "fidelity/f1"


def row(cell, *losses):
    """A run with a point every hundred steps."""
    curve = [{"step": 100 * (i + 1), LOSS: loss, FIDELITY: 1 - loss} for i, loss in enumerate(losses)]
    return {"cell": cell, "curve": curve}


def at(cell, **changes):
    return dataclasses.replace(cell, **changes)


ROWS = [
    row(PLAIN, 0.9, 0.8, 0.7),
    row(at(PLAIN, seed=1), 0.9, 0.8, 0.7),
    row(at(PLAIN, learning_rate=1e-3), 0.6, 0.5, 0.4),
    row(at(PLAIN, learning_rate=1e-3, seed=1), 0.6, 0.5, 0.2),
    row(at(PLAIN, learning_rate=1e-2), 0.9, 0.9, 0.35),
    row(at(PLAIN, learning_rate=1e-2, seed=1), 0.9, 0.9, 0.35),
    row(FRESH, 0.7, 0.4, 0.3),
    row(at(FRESH, seed=1), 0.7, 0.4, 0.3),
    row(at(FRESH, lam=0.2, hooks=("mid",), decoder_rate=10.0), 0.7, 0.7, 0.7),
    # Of another batch, whose recipe was not run.
    row(at(FRESH, batch_size=64), 0.1, 0.1, 0.1),
]


def test_the_recipe_of_a_cell_has_neither_remedy_nor_alignment():
    remedies = {"fresh_layers": "condition_embedding", "fresh_steps": 9, "condition_init": "default"}
    cell = at(FRESH, lam=0.2, hooks=("mid",), zero_convolution_scale=0.1, schedule="cosine", seed=3, **remedies)
    assert recipe_of(cell) == at(PLAIN, schedule="cosine", seed=3)


def test_the_best_rate_of_the_recipe_is_that_with_the_best_mean_over_seeds():
    beside = {one.arm.cell: one for one in at_the_best_rate(find_arms(ROWS, []))}
    assert {one.recipe.cell.learning_rate for one in beside.values()} == {1e-3}  # .3 on average, 1e-2 ends at .35
    assert at(FRESH, batch_size=64) not in beside and at(PLAIN, learning_rate=1e-3) not in beside
    assert beside[FRESH].gains(LOSS) == pytest.approx([-0.1, 0.1])
    assert beside[FRESH].speedups(LOSS) == [pytest.approx(300 / 200), None]
    assert beside[PLAIN].speedups(LOSS) == [None, None]


def test_what_an_arm_gains_at_its_own_rate_is_told_apart():
    beside = {one.arm.cell: one for one in at_the_same_rate(find_arms(ROWS, []))}
    assert len(beside) == 2 and {one.recipe.cell for one in beside.values()} == {PLAIN}
    assert beside[FRESH].speedups(LOSS) == [3.0, 3.0]
    assert beside[FRESH].speedups(FIDELITY) == [3.0, 3.0]


def test_tables_of_remedies_are_there_where_cells_have_some():
    text = markdown(ROWS)
    assert text.count("remedies beside the recipe") == 1
    line = next(
        line for line in text.splitlines() if "| 2 |" in line and "fresh layers x10" in line and "0.001" in line
    )
    assert "| 3.00 ± 0.00 | 3.00 ± 0.00 | 1.50 (1 of 2) | 1.50 (1 of 2) | -0.0000 ± 0.1414 | 0.001 |" in line
    assert "remedies" not in markdown([one for one in ROWS if one["cell"] == recipe_of(one["cell"])])
