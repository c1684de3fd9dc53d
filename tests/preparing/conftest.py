"""Rows and encoders to prepare data sets from."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy():
    """The module preparing_toy.py."""
    spec = importlib.util.spec_from_file_location("preparing_toy", Path(__file__).with_name("preparing_toy.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
