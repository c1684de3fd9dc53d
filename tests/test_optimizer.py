"""The recipe's learning rate and AdamW; agreement with PyTorch is tested in parity/test_optimizers.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from lisa_jax.configs import base
from lisa_jax.training.learning_rate import learning_rate_schedule
from lisa_jax.training.optimizer import OWN_FIELDS, make_optimizer


def optimizer_config(**changes):
    config = {
        "name": "adamw",
        "learning_rate": 1e-2,
        "schedule": "constant",
        "warmup_steps": 4,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
    }
    return ConfigDict(config | changes)


@pytest.mark.parametrize("warmup_steps", [1, 0])
def test_without_warm_up_the_rate_is_constant_from_the_first_step(warmup_steps):
    schedule = learning_rate_schedule(optimizer_config(warmup_steps=warmup_steps), num_steps=10)
    np.testing.assert_allclose([schedule(step) for step in (0, 1, 9, 100)], 1e-2, rtol=1e-6)


def test_warm_up_starts_above_zero_and_ends_at_the_rate():
    schedule = learning_rate_schedule(optimizer_config(), num_steps=100)
    expected = [0.25e-2, 0.5e-2, 0.75e-2, 1e-2, 1e-2, 1e-2]
    np.testing.assert_allclose([schedule(step) for step in (0, 1, 2, 3, 4, 99)], expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(jnp.array([0, 1, 2, 3, 4, 99])), expected, rtol=1e-6)


def test_cosine_falls_to_zero_at_the_end_and_stays_there():
    schedule = learning_rate_schedule(optimizer_config(schedule="cosine", warmup_steps=2), num_steps=100)
    expected = [0.5e-2, 1e-2 * (1 + np.cos(np.pi / 4)) / 2, 0.5e-2, 0.0, 0.0]
    np.testing.assert_allclose([schedule(step) for step in (0, 25, 50, 100, 200)], expected, rtol=1e-6, atol=1e-9)
    assert schedule(99) > 0


def test_a_line_falls_to_zero_at_the_end_and_stays_there():
    schedule = learning_rate_schedule(optimizer_config(schedule="linear", warmup_steps=2), num_steps=100)
    expected = [0.5e-2, 0.99e-2, 0.75e-2, 0.01e-2, 0.0, 0.0]
    np.testing.assert_allclose([schedule(step) for step in (0, 1, 25, 99, 100, 200)], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_length_of_a_fall_may_be_its_own(schedule):
    config, steps = optimizer_config(schedule=schedule, warmup_steps=0), (0, 99, 250, 600)
    expected = [learning_rate_schedule(config, num_steps=400)(step) for step in steps]
    config.schedule_steps = 400
    for num_steps in (100, 1000):
        np.testing.assert_array_equal([learning_rate_schedule(config, num_steps)(step) for step in steps], expected)


def test_an_unknown_schedule_is_named_with_those_that_exist():
    with pytest.raises(ValueError, match=r"optimizer\.schedule 'step': use one of constant, linear, cosine"):
        learning_rate_schedule(optimizer_config(schedule="step"), num_steps=10)


def test_an_unknown_optimizer_is_named_with_those_that_exist():
    with pytest.raises(ValueError, match=r"optimizer\.name 'adam': use one of adamw, adafactor, lion, sgd"):
        make_optimizer(optimizer_config(name="adam"), lambda step: 1e-2)


def test_what_an_optimizer_does_not_read_is_as_in_the_recipe():
    recipe = base.optimizer()
    assert {name: recipe[name] for name in OWN_FIELDS} == OWN_FIELDS


def updates_of(config, gradients, params):
    optimizer = make_optimizer(config, learning_rate_schedule(config, num_steps=10))
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    return updates


def test_the_clip_is_one_norm_over_side_network_and_decoder_together():
    """Seen through a large epsilon, with which Adam's first step is proportional to the gradient."""
    params = {"side": jnp.zeros(1), "decoder": jnp.zeros(1)}
    config = optimizer_config(eps=1e6, warmup_steps=1)
    clipped = updates_of(config, {"side": jnp.array([3.0]), "decoder": jnp.array([4.0])}, params)
    within = updates_of(config, {"side": jnp.array([0.6]), "decoder": jnp.array([0.8])}, params)
    for name in params:
        np.testing.assert_allclose(clipped[name], within[name], rtol=1e-5)
    np.testing.assert_allclose(clipped["side"] / clipped["decoder"], 0.75, rtol=1e-5)
    small = updates_of(config, {"side": jnp.array([0.06]), "decoder": jnp.array([0.08])}, params)
    np.testing.assert_allclose(small["side"], within["side"] / 10, rtol=1e-5)


def test_weight_decay_is_decoupled_and_touches_biases_too():
    params = {"kernel": jnp.full((2, 2), 3.0), "bias": jnp.full((2,), 5.0)}
    updates = updates_of(optimizer_config(), jax.tree.map(jnp.zeros_like, params), params)
    for name, leaf in params.items():
        np.testing.assert_allclose(updates[name], -0.25e-2 * 0.1 * leaf, rtol=1e-6)


def test_parts_may_learn_faster_than_the_rest_and_the_state_is_that_of_optax():
    params = {"side": jnp.full(2, 3.0), "decoder": {"kernel": jnp.full(2, 5.0)}}
    gradients, config = jax.tree.map(lambda leaf: leaf / 10, params), optimizer_config()
    schedule = learning_rate_schedule(config, num_steps=10)
    settings = {name: config[name] for name in ("b1", "b2", "eps", "weight_decay")}
    usual = optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.adamw(schedule, **settings))
    faster = make_optimizer(config, schedule, lambda params, step: {"side": 1.0, "decoder": 2.0**step})
    states = usual.init(params), faster.init(params)
    for step in range(4):
        (expected, one), (found, other) = (
            optimizer.update(gradients, state, params) for optimizer, state in zip((usual, faster), states, strict=True)
        )
        np.testing.assert_array_equal(found["side"], expected["side"])
        np.testing.assert_allclose(found["decoder"]["kernel"], 2**step * expected["decoder"]["kernel"], rtol=1e-6)
        assert jax.tree.structure(one) == jax.tree.structure(other)
        jax.tree.map(np.testing.assert_array_equal, one, other)
        states = one, other


def test_the_first_step_is_the_rate_times_the_sign():
    params = {"w": jnp.zeros(3)}
    updates = updates_of(optimizer_config(weight_decay=0.0), {"w": jnp.array([1e-3, -0.5, 0.2])}, params)
    np.testing.assert_allclose(updates["w"], 0.25e-2 * np.array([-1.0, 1.0, -1.0]), rtol=1e-4)
