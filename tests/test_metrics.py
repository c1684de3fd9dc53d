"""Means that add up over microbatches, devices and steps, and the ratios that are logged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax import metrics
from lisa_jax.metrics import Mean


def test_means_fall_into_the_quartile_of_their_noise_level():
    quantile = jnp.array([0.0, 0.2499, 0.25, 0.74, 0.75, 0.9999])
    found = jax.jit(metrics.means_by_quartile)(quantile, main_loss=jnp.array([1.0, 3.0, 10.0, 100.0, 7.0, 9.0]))
    assert {name: (float(mean.total), float(mean.count)) for name, mean in found.items()} == {
        "main_loss": (130.0, 6.0),
        "main_loss_q1": (4.0, 2.0),
        "main_loss_q2": (10.0, 1.0),
        "main_loss_q3": (100.0, 1.0),
        "main_loss_q4": (16.0, 2.0),
    }


def test_every_metric_gets_its_own_quartiles():
    found = metrics.means_by_quartile(jnp.array([0.1, 0.9]), a=jnp.array([1.0, 2.0]), b=jnp.array([3.0, 4.0]))
    assert found.keys() == {name + quartile for name in "ab" for quartile in ("", "_q1", "_q2", "_q3", "_q4")}
    assert float(found["b_q4"].total) == 4.0


def test_a_window_weighs_every_example_the_same():
    """Not a mean of means: a quartile that was empty in one step must not count there."""
    steps = [
        metrics.means_by_quartile(jnp.array([0.1, 0.2, 0.3]), main_loss=jnp.array([1.0, 2.0, 6.0])),
        metrics.means_by_quartile(jnp.array([0.1]), main_loss=jnp.array([9.0])),
    ]
    window = {}
    for step in steps:
        window = metrics.add(window, step)
    assert metrics.summarise(window) == {"main_loss": 4.5, "main_loss_q1": 4.0, "main_loss_q2": 6.0}


def test_a_metric_that_comes_or_goes_within_a_window_keeps_its_own_count():
    """Where the alignment stops, its last value is the mean over the steps that still had it."""
    one, two = metrics.scalar(jnp.float32(1)), metrics.scalar(jnp.float32(2))
    window = metrics.add(metrics.add({"loss": one, "align_loss": one}, {"loss": two}), {"loss": two, "late": two})
    assert metrics.summarise(window) == {"loss": pytest.approx(5 / 3), "align_loss": 1.0, "late": 2.0}


def test_the_gate_is_the_norm_of_residuals_over_that_of_what_they_join():
    steps = [
        {"residual_power": Mean(*one), "joined_power": Mean(*two)} for one, two in (((9, 2), (8, 2)), ((0, 2), (8, 2)))
    ]
    assert metrics.summarise(metrics.add(*steps)) == {"gate_norm": pytest.approx((9 / 16) ** 0.5)}
    assert metrics.summarise(steps[1]) == {"gate_norm": 0.0}


def test_ratios_are_of_means_overall_and_by_quartile():
    quantile = jnp.array([0.1, 0.9, 0.95])
    found = metrics.means_by_quartile(
        quantile,
        main_loss=jnp.array([1.0, 3.0, 5.0]),
        target_power=jnp.array([2.0, 4.0, 4.0]),
        align_loss=jnp.array([1.0, 1.0, 1.0]),
        gap_power=jnp.array([1.0, 2.0, 6.0]),
    )
    values = metrics.summarise(jax.device_get(found))
    assert all(isinstance(value, float) for value in values.values())
    assert {name: value for name, value in values.items() if "over" in name} == pytest.approx(
        {
            "main_over_target": 0.9,
            "main_over_target_q1": 0.5,
            "main_over_target_q4": 1.0,
            "main_over_gap": 1.0,
            "main_over_gap_q1": 1.0,
            "main_over_gap_q4": 1.0,
            "align_over_gap": 1 / 3,
            "align_over_gap_q1": 1.0,
            "align_over_gap_q4": 0.25,
        }
    )


def test_a_gap_of_zero_has_no_ratio_and_plain_training_no_alignment_ratio():
    zero, one = Mean(np.float32(0), np.float32(2)), Mean(np.float32(2), np.float32(2))
    found = {"main_loss": one, "target_power": one, "align_loss": one, "gap_power": zero}
    assert metrics.summarise(found) == {
        "main_loss": 1.0, "target_power": 1.0, "align_loss": 1.0, "gap_power": 0.0, "main_over_target": 1.0
    }  # fmt: skip
    assert metrics.summarise({"main_loss": one, "target_power": one}).keys() == {
        "main_loss", "target_power", "main_over_target"
    }  # fmt: skip


def test_a_value_that_is_not_finite_stays_visible():
    values = metrics.summarise({"loss": metrics.scalar(jnp.float32(np.nan))})
    assert np.isnan(values["loss"])
