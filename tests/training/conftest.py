"""Tools for tests of the loop."""

import jax
import numpy as np
import pytest
from toys import linear_map


@pytest.fixture(scope="session")
def toy():
    """The experiment that all tests of the loop run."""
    return linear_map


@pytest.fixture(scope="session")
def assert_same_state():
    """Assert that two states are equal bit for bit, in structure and in every leaf."""

    def check(one, other):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path))

    return check
