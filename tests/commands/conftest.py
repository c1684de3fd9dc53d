"""Runs that several commands read."""

import jax
import pytest
from toys.saved_run import save_run

from lisa_jax.experiments.saved_run import load_run

LOSS = "validation/main_loss"


@pytest.fixture(scope="session")
def run_with_best(trained_run, tmp_path_factory):
    """A run whose checkpoint of step 2, what `trained_run` ended with, validated better than its newest, of step 4."""
    workdir = tmp_path_factory.mktemp("run_with_best")
    run = load_run(trained_run)
    assert run.config.keep_best == LOSS
    good = {"side": run.side, "decoder": run.decoder}
    params_at = {2: lambda _: good, 4: lambda _: jax.tree.map(lambda leaf: leaf + 0.1, good)}
    save_run(workdir, run.config, params_at, {2: {LOSS: 1.0}, 4: {LOSS: 1.5}})
    return workdir
