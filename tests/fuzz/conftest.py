"""Where the cases run: one forking process, and the valid inputs that they are mutations of."""

import pytest

from fuzz.machine import machine
from fuzz.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_base, tiny_data, trained_run, command_env):
    folder = tmp_path_factory.mktemp("world")
    (drawings,) = tiny_data.glob("openmoji/size_16/*.*.*")
    with machine(folder / "home", command_env) as forking:
        yield World(folder, forking, base=tiny_base, run=trained_run, drawings=drawings)
