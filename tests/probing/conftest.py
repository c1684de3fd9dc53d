"""The toy family for all tests of probes."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy():
    """The module probing_toy.py."""
    spec = importlib.util.spec_from_file_location("probing_toy", Path(__file__).with_name("probing_toy.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
