"""`export` and `study`, killed at random. Slow: `pytest -m slow -s tests/fuzz/test_kills.py`.

(Kills of `train` are in tests/training/test_soak.py.)
"""

import json
import random
import shutil
import signal

import pytest
from toys.study_file import study_file

from fuzz.case import digest
from fuzz.machine import Surroundings
from fuzz.world import sample_command

KILLS = 20
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


def kill(world, command, tmp_path, rng, cpu):
    """Run a command and kill it somewhere in its so many CPU seconds; whether it was, it may have ended before."""
    outcome = world.machine.run(command, tmp_path, Surroundings(kill=(rng.choice(SIGNALS), rng.uniform(0, cpu))))
    assert "Traceback" not in outcome.stderr and outcome.returncode != 1, outcome.stderr
    return outcome.returncode != 0


@pytest.mark.slow
def test_an_export_that_was_killed_is_exported_again(world, tmp_path):
    seed = random.randrange(2**32)
    rng, out = random.Random(seed), tmp_path / "out"
    command = ("export", f"--workdir={world.run}", f"--out={out}")
    undisturbed = world.machine.run(command, tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    files = contents(out)
    samples = sample_command(world.base, out, world.picture)

    kills = 0
    while kills < KILLS:
        shutil.rmtree(out, ignore_errors=True)
        kills += kill(world, command, tmp_path, rng, undisturbed.cpu)
        # What was left is not taken for an export, unless its weights are whole.
        left = digest(out) if out.exists() else None
        sampled = world.machine.run((*samples, f"--out={tmp_path}/samples"), tmp_path)
        assert "Traceback" not in sampled.stderr, sampled.stderr
        if sampled.returncode == 0:
            weights = "diffusion_pytorch_model.safetensors"
            assert left is not None and (out / weights).read_bytes() == files[weights]
        shutil.rmtree(tmp_path / "samples", ignore_errors=True)
        again = world.machine.run(command, tmp_path)
        assert again.returncode == 0, again.stderr
        assert contents(out) == files
    print(f"\nseed {seed}: {KILLS} kills of export")


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on(world, tmp_path):
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    config = tmp_path / "study.py"
    grid = {"task": "segmentation", "lam": (0.0, 0.2)}
    defaults = {"num_steps": 4, "batch_size": 4, "hook": "mid"}
    config.write_text(study_file(base=str(world.base), defaults=defaults, grid=grid, save_side=True))
    study = ("study", f"--config={config}")
    undisturbed = world.machine.run((*study, f"--out={tmp_path}/undisturbed"), tmp_path)
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected = results(tmp_path / "undisturbed")
    # As long as what is killed: the first one compiled the programs that others find.
    again = world.machine.run((*study, f"--out={tmp_path}/again"), tmp_path)
    assert results(tmp_path / "again") == expected

    kills, out = 0, tmp_path / "out"
    while kills < KILLS:
        shutil.rmtree(out, ignore_errors=True)
        # Perhaps more than once, until it ends by itself.
        while kill(world, (*study, f"--out={out}"), tmp_path, rng, again.cpu):
            kills += 1
            summary = world.machine.run((*study, f"--out={out}", "--summary"), tmp_path)
            assert "Traceback" not in summary.stderr, summary.stderr
        assert results(out) == expected
    print(f"\nseed {seed}: {kills} kills of study")


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder):
    """Everything a study left, but the times it took."""
    found = contents(folder)
    lines = [json.loads(line) for line in found.pop("results.jsonl").splitlines()]
    return found, [{name: value for name, value in line.items() if "seconds" not in name} for line in lines]
