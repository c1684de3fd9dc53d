"""Fifty random kills in one run change nothing. Slow: `pytest -m slow -s tests/training/test_soak.py`."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KILLS = 50
# More than fifty short lives do.
NUM_STEPS = 1200


@pytest.fixture
def start(toy, tmp_path, command_env):
    """(workdir, count of processes, flags) -> launch/local.sh of the toy, started; stopped after the test."""
    started = []
    env = command_env | {"PYTHON": sys.executable, "LISA_JAX_HEARTBEAT_SECONDS": "20"}

    def launcher(workdir, count, **flags):
        words = [f"--{name}={value}" for name, value in {"num_steps": NUM_STEPS, **flags}.items()]
        options = ["--platform=cpu", "--devices=2", "--grace=0", f"--logs={tmp_path}/logs"]
        argv = ["bash", "launch/local.sh", *options, str(count), "--", toy.__file__, str(workdir), *words]
        started.append(subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT))
        return started[-1]

    yield launcher
    for process in started:
        if process.poll() is None:
            # Twice: at once.
            process.terminate()
            time.sleep(0.5)
            process.terminate()
            process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2], ids=["one process", "two processes"])
def test_fifty_random_kills_leave_the_final_state_and_the_metrics_as_they_are(
    toy, start, tmp_path, metrics_of, assert_same_state, count
):
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    assert start(tmp_path / "undisturbed", count).wait(timeout=600) == 0

    killed_in_training = 0
    for kill in range(KILLS):
        launcher = start(tmp_path / "killed", count, seconds_per_step=0.05, save_every=3)
        # From the first moment of the program, through compiling and reading the checkpoint, into training and saving.
        if rng.random() < 0.8:
            wait_for_a_new_step(tmp_path / "killed", launcher)
            killed_in_training += 1
            time.sleep(rng.uniform(0, 2))
        else:
            time.sleep(rng.uniform(0, 5))
        while not (victims := processes_of(launcher.pid)):
            time.sleep(0.01)
        subprocess.run(["kill", "-KILL", str(rng.choice(victims))], check=False)
        assert launcher.wait(timeout=120) != 0, f"The run ended before kill {kill}: give it more steps."
    saved = newest_checkpoint(tmp_path / "killed")
    print(f"seed {seed}: {KILLS} kills, {killed_in_training} of them in training; step {saved} was saved")

    assert start(tmp_path / "killed", count).wait(timeout=600) == 0
    assert metrics_of(tmp_path / "killed") == metrics_of(tmp_path / "undisturbed")
    assert_same_state(final_state(toy, tmp_path / "killed"), final_state(toy, tmp_path / "undisturbed"))
    assert not list((tmp_path / "killed" / "checkpoints").glob("unreadable-*"))


def wait_for_a_new_step(workdir, launcher):
    """Until the run, which has just been started, logs a step that no checkpoint holds."""
    path, started = workdir / "metrics.jsonl", time.time_ns()
    saved = newest_checkpoint(workdir)
    # Before it resumes, the steps that come again are there too; then it writes the file anew without them.
    while not path.is_file() or path.stat().st_mtime_ns < started or last_step(path) <= saved:
        assert launcher.poll() is None
        time.sleep(0.01)


def newest_checkpoint(workdir):
    return max((int(path.name) for path in workdir.glob("checkpoints/*") if path.name.isdigit()), default=0)


def last_step(path):
    return max((int(step) for step in re.findall(r'"step": (\d+)', path.read_text())), default=0)


def processes_of(launcher):
    """Process ids of the Pythons that a launcher has started."""
    found = subprocess.run(
        ["pgrep", "-P", str(launcher), "-f", "linear_map.py"], capture_output=True, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


def final_state(toy, workdir):
    """What a process of one device reads from the finished run."""
    from lisa_jax.training.loop import fit

    config = toy.config(num_steps=NUM_STEPS)
    config.optimizer.schedule = "constant"
    return fit(toy.experiment(), config, workdir)
