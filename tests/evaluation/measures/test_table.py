"""A task is known everywhere once it stands in the table."""

import numpy as np
import pytest

from lisa_jax.evaluation.evaluation_set import EvaluationSet, truth_of
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.evaluation.measures.table import MEASURES, lower_is_better, measures
from lisa_jax.evaluation.measures.task_measures import TaskMeasures
from lisa_jax.evaluation.protocol import evaluate
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.speedup import LOSS, steps_to_reach
from lisa_jax.studies.summary import markdown


def colour_error(samples, colours):
    return np.abs(samples.mean((1, 2)) - colours).mean(-1)


@pytest.fixture
def newcomer(monkeypatch):
    """A task of which the package knows nothing: the mean colour that a picture is to have."""
    colour = TaskMeasures({"error": colour_error}, against="mean_colour", falling=frozenset({"error"}))
    monkeypatch.setitem(MEASURES, "colour", colour)


@pytest.mark.usefixtures("newcomer")
def test_the_measures_of_a_new_task_are_one_value_in_the_table():
    red, black = np.zeros((2, 2, 8, 8, 3), np.uint8)
    red[..., 0] = 30
    truth = truth_of([{"mean_colour": np.float32([30, 0, 0])}] * 2)
    assert fidelity("colour", black, red, {"colour": red}, truth) == {"error": 10.0}
    assert measures("colour+pose")[0] == "colour/error" and lower_is_better("colour/error")
    found = evaluate("colour", {"samples": black}, EvaluationSet(red, {"colour": red}, ["", ""], truth, embedded=True))
    assert found["fidelity"] == {
        "samples": {"error": 10.0},
        "real images": {"error": 0.0},
        "other images": {"error": 0.0},
    }


@pytest.mark.usefixtures("newcomer")
def test_a_study_of_a_new_task_is_summarised():
    cell = Cell("colour", lam=0.0, learning_rate=1e-3, seed=0, batch_size=8, num_steps=200)
    curve = [{"step": 100 * i, LOSS: 1.0, "fidelity/error": 10.0 / i} for i in (1, 2)]
    table = markdown([{"id": cell.id, "cell": cell, "curve": curve}])
    assert "### colour" in table and "| error |" in table and "| 5.000 |" in table
    assert steps_to_reach(curve, "fidelity/error", 7.5) == 150
