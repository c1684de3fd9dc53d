"""Tools for tests of the loop."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def toy():
    """The module toy.py, which also runs as a command."""
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def assert_same_state():
    """Assert that two states are equal bit for bit, in structure and in every leaf."""

    def check(one, other):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path))

    return check
