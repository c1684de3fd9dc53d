import numpy as np
import pytest

from lisa_jax.data import conditions
from lisa_jax.data.conditions import get_condition, register


def darkest(example):
    return np.broadcast_to(example["image"].min(axis=-1, keepdims=True), example["image"].shape)


def test_lineart_becomes_three_equal_channels():
    lines = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    condition = get_condition("lineart")({"lineart": lines})
    assert condition.shape == (4, 4, 3) and condition.dtype == np.uint8
    np.testing.assert_array_equal(condition, np.concatenate([lines] * 3, axis=-1))


def test_lowres_keeps_block_means_and_loses_detail():
    flat = np.full((16, 16, 3), (10, 200, 30), np.uint8)
    np.testing.assert_array_equal(get_condition("lowres")({"image": flat}), flat)
    # Columns alternate 0, 255: every 4 x 4 block has the same mean, so nothing of the pattern is left.
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 255
    condition = get_condition("lowres")({"image": stripes})
    assert condition.shape == (16, 16, 3) and condition.dtype == np.uint8
    assert set(np.unique(condition)) <= {127, 128}


def test_lowres_refuses_other_sides():
    with pytest.raises(ValueError, match="18x16"):
        get_condition("lowres")({"image": np.zeros((16, 18, 3), np.uint8)})


def test_own_condition_by_decorator_and_by_reference(monkeypatch):
    monkeypatch.setattr(conditions, "_CONDITIONS", dict(conditions._CONDITIONS))
    register("darkest")(darkest)
    assert get_condition("darkest") is darkest
    with pytest.raises(ValueError, match="'darkest' exists already"):
        register("darkest")(darkest)
    assert get_condition("lisa_jax.data.conditions:lowres") is conditions.lowres


def test_unknown_conditions_say_what_there_is():
    with pytest.raises(ValueError, match=r"Unknown condition 'canni': use one of \['lineart', 'lowres'\]"):
        get_condition("canni")
    with pytest.raises(ValueError, match="no_such_module"):
        get_condition("no_such_module:function")
    with pytest.raises(ValueError, match="has no function 'nothing'"):
        get_condition("lisa_jax.data.conditions:nothing")
