"""Several processes: SIGTERM to one of them stops all after the same step, and another number of them goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lisa_jax.run import join_processes
from lisa_jax.training.loop import fit


def test_sigterm_to_one_of_two_processes_saves_on_both(toy, tmp_path):
    workdir = tmp_path / "two"
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, toy.__file__, str(workdir), "--num_steps=100000", "--seconds_per_step=0.02"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    both = [
        subprocess.Popen(argv, env=env | {"LISA_JAX_PROCESSES": f"localhost:{port},2,{index}"}, stderr=subprocess.PIPE)
        for index in range(2)
    ]
    try:
        while not (workdir / "metrics.jsonl").is_file() or not (workdir / "metrics.jsonl").read_text():
            assert all(process.poll() is None for process in both), both[0].communicate()
            time.sleep(0.05)
        both[1].send_signal(signal.SIGTERM)
        outputs = [process.communicate(timeout=100)[1].decode() for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
    finally:
        for process in both:
            process.kill()
            process.wait()

    (checkpoint,) = (workdir / "checkpoints").iterdir()
    last = int(checkpoint.name)
    losses = losses_of(workdir)
    assert max(losses) == last < 100000

    # One process goes on from there, and all of it is what one process alone would have done.
    config = toy.config(num_steps=last + 4, save_every=1000, log_every=1)
    config.optimizer.schedule = "constant"
    fit(toy.experiment(), config, workdir)
    fit(toy.experiment(), config, tmp_path / "one")
    resumed, expected = losses_of(workdir), losses_of(tmp_path / "one")
    assert list(resumed) == list(expected) == list(range(1, last + 5))
    np.testing.assert_allclose(list(resumed.values()), list(expected.values()), rtol=1e-4)


def losses_of(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.mark.parametrize("spec", ["localhost:1234", "localhost:1234,two,0", "yes"])
def test_malformed_processes_variable(spec):
    with pytest.raises(
        ValueError, match=f"LISA_JAX_PROCESSES is '{spec}', but must be 'auto' or 'host:port,count,index'"
    ):
        join_processes(spec)
