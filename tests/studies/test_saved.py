import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.studies.saved import load_trainable, save_trainable

# As of a composition with two hooks.
TREE = {
    "side": {"lineart": {"conv_in": {"kernel": jnp.arange(6.0).reshape(2, 3)}}, "lowres": {"gain": jnp.float32(3)}},
    "decoder": {"mid": {"scale": jnp.ones(2, jnp.bfloat16)}},
}


def test_a_tree_comes_back_as_it_was(tmp_path):
    path = save_trainable(tmp_path, "cell", TREE)
    assert path == tmp_path / "side" / "cell.safetensors"
    found = load_trainable(tmp_path, "cell")
    assert found["side"].keys() == {"lineart", "lowres"} and found["decoder"].keys() == {"mid"}
    np.testing.assert_array_equal(found["side"]["lineart"]["conv_in"]["kernel"], [[0, 1, 2], [3, 4, 5]])
    assert found["side"]["lowres"]["gain"] == 3 and found["side"]["lowres"]["gain"].shape == ()
    assert found["decoder"]["mid"]["scale"].dtype == jnp.bfloat16


def test_refusals(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_side = True"):
        load_trainable(tmp_path, "cell")
    with pytest.raises(ValueError, match="'side/a/b' cannot be saved"):
        save_trainable(tmp_path, "cell", {"side": {"a/b": jnp.ones(1)}})
