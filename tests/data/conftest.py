"""A small OpenMoji, built once per test run."""

import pytest
from toys import preparing

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
    """Rows and encoders of prepared data."""
    return preparing
