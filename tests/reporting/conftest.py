import importlib.util
from pathlib import Path

import pytest


def _load():
    spec = importlib.util.spec_from_file_location("small_study", Path(__file__).parent / "small_study.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def small():
    """The module `small_study`: made-up folders."""
    return _load()


@pytest.fixture(scope="module")
def folders(small, tmp_path_factory):
    """A study with everything and two training runs."""
    return small.write_all(tmp_path_factory.mktemp("folders"))
