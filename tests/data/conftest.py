"""A small OpenMoji, built once per test run."""

import importlib.util
from pathlib import Path

import pytest

from lisa_jax.data.embedded.openmoji import catalogue, load_openmoji


@pytest.fixture(scope="session")
def openmoji_dir(tmp_path_factory):
    """A data folder that holds OpenMoji at 32 px, every tenth drawing only."""
    every_tenth = catalogue.drawings()[::10]
    folder = tmp_path_factory.mktemp("openmoji")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "drawings", lambda: every_tenth)
        load_openmoji(32, "train", folder)
    return folder


@pytest.fixture(scope="session")
def train(openmoji_dir):
    return load_openmoji(32, "train", openmoji_dir)


@pytest.fixture(scope="session")
def held_out(openmoji_dir):
    return load_openmoji(32, "test", openmoji_dir)


@pytest.fixture(scope="session")
def toy():
    """The module preparing_toy.py of the tests of preparing."""
    path = Path(__file__).parents[1] / "preparing" / "preparing_toy.py"
    spec = importlib.util.spec_from_file_location("preparing_toy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
