"""Gradients of the two terms on the trunk: against gradients taken one by one, and logged by the loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.training.diagnostics import gradient_shares
from lisa_jax.training.experiment import Diagnostic
from lisa_jax.training.loop import fit

SIDE = {"trunk": jnp.array([1.0, 2.0]), "zero": jnp.array([3.0])}


def trunk(side):
    return {"trunk": side["trunk"]}


def test_shares_are_those_of_gradients_taken_one_by_one():
    def terms(side):
        a, b = side["trunk"]
        # Gradients on the trunk: (3, 0) and 0.5 (2 a, 2 b) = (1, 2).
        return a * side["zero"][0], 0.5 * (a**2 + b**2) + 100 * side["zero"][0]

    shares = jax.jit(lambda side: gradient_shares(terms, side, trunk))(SIDE)
    assert float(shares.main) == pytest.approx(3)
    assert float(shares.align) == pytest.approx(5**0.5)
    assert float(shares.ratio) == pytest.approx(5**0.5 / 3)
    assert float(shares.cosine) == pytest.approx(1 / 5**0.5)


def test_a_trunk_that_nothing_reaches_yet_gives_zeros():
    shares = gradient_shares(lambda side: (side["zero"][0], jnp.sum(side["trunk"])), SIDE, trunk)
    assert [float(value) for value in shares] == pytest.approx([0, 2**0.5, 0, 0])


def test_the_loop_logs_what_the_step_sees_and_trains_the_same(toy, tmp_path, metrics_of, assert_same_state):
    def look(params, frozen, inputs, *, key, step):
        # The noise of the loss depends on the key.
        loss, _ = toy.loss(params, frozen, inputs, key=key, step=step)
        return {"look/loss": loss, "look/rows": jnp.float32(len(inputs["x"])), "look/step": step}

    settings = toy.config(log_every=1, accumulate=2)
    watched = dataclasses.replace(toy.experiment(), diagnostic=Diagnostic(3, lambda step: look if step != 5 else None))
    state = fit(watched, settings, tmp_path / "watched")
    assert_same_state(state, fit(toy.experiment(), settings, tmp_path / "alone"))
    lines = metrics_of(tmp_path / "watched")
    found = [line for line in lines if "look/loss" in line]
    # Steps 3 and 6 end a stretch of three; there is nothing to see at the second.
    assert [(line["step"], line["look/step"], line["look/rows"]) for line in found] == [(3, 2, 4)]
    assert [line for line in lines if "look/loss" not in line] == metrics_of(tmp_path / "alone")

    whole = toy.config(log_every=1, num_steps=4)
    watched = dataclasses.replace(toy.experiment(), diagnostic=Diagnostic(3, lambda step: look))
    fit(watched, whole, tmp_path / "whole")
    (line,) = (line for line in metrics_of(tmp_path / "whole") if "look/loss" in line)
    (step,) = (line for line in metrics_of(tmp_path / "whole") if line["step"] == 3 and "loss" in line)
    np.testing.assert_allclose(line["look/loss"], step["loss"], rtol=1e-6)


def test_it_cannot_run_every_zero_steps():
    with pytest.raises(ValueError, match="diagnostics_every is 0"):
        Diagnostic(0, lambda step: None)
