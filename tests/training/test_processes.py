"""Several processes: one that is asked to stop, killed, stuck or failing ends all of them, and any number goes on."""

import json
import random
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from lisa_jax.parallel.cluster import join_processes
from lisa_jax.parallel.stop_signals import STOPPED_EARLY
from lisa_jax.training.loop import fit

# Far more than is needed: for a machine that is busy. Of the heartbeat it is a part.
BOUND_SECONDS = 60


@pytest.fixture
def start(toy, command_env, fake_devices):
    """(workdir, count of processes, devices of each, flags) -> the processes; none outlives the test."""
    started = []

    def processes(workdir, count=2, devices=2, heartbeat=15, **toy_flags):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            port = probe.getsockname()[1]
        argv = [sys.executable, toy.__file__, str(workdir), *(f"--{name}={value}" for name, value in toy_flags.items())]
        env = command_env | fake_devices(devices) | {"LISA_JAX_HEARTBEAT_SECONDS": str(heartbeat)}
        ours = [
            subprocess.Popen(
                argv,
                env=env | {"LISA_JAX_PROCESSES": f"localhost:{port},{count},{index}"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for index in range(count)
        ]
        started.extend(ours)
        return ours

    yield processes
    for process in started:
        process.kill()
        process.communicate()


def finish(processes, returncode=0):
    outputs = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [returncode] * len(processes), outputs


def wait_for_step(workdir, step, processes):
    while not (workdir / "metrics.jsonl").is_file() or max(losses_of(workdir), default=0) < step:
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.02)


def losses_of(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    # The last line may be half written.
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return {line["step"]: line["loss"] for line in found if "loss" in line}


def steps_of(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def one_process(toy, workdir, num_steps):
    config = toy.config(num_steps=num_steps, save_every=1000, log_every=1)
    config.optimizer.schedule = "constant"
    return fit(toy.experiment(), config, workdir)


def test_sigterm_to_one_of_two_processes_saves_on_both(toy, start, tmp_path):
    both = start(tmp_path / "two", num_steps=100000, seconds_per_step=0.02)
    wait_for_step(tmp_path / "two", 1, both)
    both[1].send_signal(signal.SIGTERM)
    finish(both, STOPPED_EARLY)
    (last,) = steps_of(tmp_path / "two")
    assert max(losses_of(tmp_path / "two")) == last < 100000

    # One process goes on from there, and all of it is what one process alone would have done.
    one_process(toy, tmp_path / "two", last + 4)
    one_process(toy, tmp_path / "one", last + 4)
    resumed, expected = losses_of(tmp_path / "two"), losses_of(tmp_path / "one")
    assert list(resumed) == list(expected) == list(range(1, last + 5))
    np.testing.assert_allclose(list(resumed.values()), list(expected.values()), rtol=1e-4)


def says_that_it_lost_another(output, process):
    """In our words, or in JAX's where the process was not in a step or JAX's own check was quicker to end it."""
    sentence = f"error: Process {process} of 2 lost another one in step "
    return sentence in output or "This most likely indicates that another task died" in output


@pytest.mark.slow
def test_killed_process_ends_the_other_soon_and_the_rerun_equals_an_undisturbed_run(
    toy, start, tmp_path, assert_same_state
):
    workdir = tmp_path / "killed"
    for killed in (0, 1):
        both = start(workdir, num_steps=40, seconds_per_step=0.1, save_every=3)
        wait_for_step(workdir, 4 + 12 * killed, both)
        delay = random.uniform(0, 1)
        time.sleep(delay)
        both[killed].kill()
        killed_at = time.monotonic()
        other = both[1 - killed]
        output = other.communicate(timeout=BOUND_SECONDS)[1]
        print(
            f"killed process {killed} after {delay:.2f} s: the other ended {time.monotonic() - killed_at:.1f} s later"
        )
        assert other.returncode != 0
        assert says_that_it_lost_another(output, 1 - killed)

    finish(start(workdir, num_steps=40))
    finish(start(tmp_path / "undisturbed", num_steps=40))
    assert losses_of(workdir) == losses_of(tmp_path / "undisturbed")
    assert_same_state(one_process(toy, workdir, 40), one_process(toy, tmp_path / "undisturbed", 40))


@pytest.mark.slow
def test_a_process_that_fails_alone_says_why_and_ends_the_other(start, tmp_path):
    both = start(tmp_path, num_steps=1000, save_every=2, fail_at=5)
    outputs = [process.communicate(timeout=BOUND_SECONDS)[1] for process in both]
    assert "error: The batch of step 5 is damaged." in outputs[1]
    assert says_that_it_lost_another(outputs[0], 0)
    assert both[0].returncode != 0 and both[1].returncode == 1
    assert steps_of(tmp_path)[-1] == 4


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_other_after_the_heartbeat(start, tmp_path):
    both = start(tmp_path, heartbeat=5, num_steps=100000, seconds_per_step=0.02)
    wait_for_step(tmp_path, 1, both)
    both[1].send_signal(signal.SIGSTOP)
    output = both[0].communicate(timeout=BOUND_SECONDS)[1]
    assert both[0].returncode != 0
    assert "stopped sending heartbeats" in output


@pytest.mark.slow
def test_other_numbers_of_processes_and_shapes_of_the_mesh_go_on(toy, start, tmp_path):
    workdir = tmp_path / "elastic"
    finish(start(workdir, count=2, devices=4, num_steps=4, fsdp=4))
    finish(start(workdir, count=4, devices=2, num_steps=8, fsdp=2, tensor=2))
    assert steps_of(workdir) == [4, 8]
    resumed = one_process(toy, workdir, 12)
    expected = one_process(toy, tmp_path / "one", 12)
    for leaf, other in zip(jax.tree.leaves(resumed), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(list(losses_of(workdir).values()), list(losses_of(tmp_path / "one").values()), rtol=1e-5)


@pytest.mark.parametrize("spec", ["localhost:1234", "localhost:1234,two,0", "yes"])
def test_malformed_processes_variable(spec):
    with pytest.raises(
        ValueError, match=f"LISA_JAX_PROCESSES is '{spec}', but must be 'auto' or 'host:port,count,index'"
    ):
        join_processes(spec)


@pytest.mark.parametrize("seconds", ["0", "1.5", "soon"])
def test_malformed_heartbeat_variable(seconds, monkeypatch):
    monkeypatch.setenv("LISA_JAX_HEARTBEAT_SECONDS", seconds)
    with pytest.raises(ValueError, match=f"LISA_JAX_HEARTBEAT_SECONDS is '{seconds}', but must be a whole number"):
        join_processes("localhost:1234,1,0")
