"""What a run's steps cost, of one program or of two, one after the other."""

import jax.numpy as jnp
import pytest

from lisa_jax.parallel.compiling import Announced
from lisa_jax.studies.costs import StepCosts

ONCE = Announced(lambda x: x @ x, "one product", 0)
TWICE = Announced(lambda x: x @ x @ x, "two products", 0)
ARGUMENTS = (jnp.ones((8, 8)),)


def costs_of(*stretches):
    """Of stretches, each the steps and how many seconds each of them took."""
    costs = StepCosts()
    for steps, seconds in stretches:
        for step in steps:
            costs.add(step, ARGUMENTS)
        costs.end_stretch(seconds * len(steps))
    return costs.row()


def test_time_a_step_is_that_of_each_program_by_its_steps():
    row = costs_of(([TWICE] * 2, 50.0), ([TWICE] * 2, 3.0), ([ONCE] * 2, 40.0), ([ONCE] * 2, 1.0))
    assert row["seconds_per_step"] == pytest.approx((4 * 3 + 4 * 1) / 8)
    flops = [costs_of(([step], 1.0))["flops_per_step"] for step in (ONCE, TWICE)]
    assert row["flops_per_step"] == pytest.approx(sum(flops) / 2) and flops[0] < flops[1]


def test_a_stretch_of_two_programs_says_nothing_of_either():
    assert costs_of(([TWICE] * 3, 3.0), ([TWICE, ONCE], 9.0), ([ONCE] * 3, 1.0))["seconds_per_step"] == pytest.approx(2)
    assert costs_of(([TWICE, ONCE], 9.0))["seconds_per_step"] is None
