"""`evaluate` and `export` as a user runs them, on a finished run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(command_env):
    def call(command, **flags):
        argv = [sys.executable, "-m", "lisa_jax", command, *(f"--{name}={value}" for name, value in flags.items())]
        return subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)

    return call


def test_evaluate_reports_fidelity_beside_ceiling_and_floor(run, trained_run, tmp_path):
    out = tmp_path / "result.json"
    done = run("evaluate", workdir=trained_run, out=out, num=7)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    f1 = {name: values["f1_tolerance_0"] for name, values in result["fidelity"].items()}
    assert f1["real images"] > max(f1["other images"], f1["control"], f1["no control"])
    assert result["step"] == 8 and result["examples"] == 7 and len(result["base"]) == 64
    assert result["data"] == "openmoji/size_16/1.0.0"
    assert "no control" in done.stderr


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"workdir": "nowhere"}, "nowhere/config.json is missing: give the --workdir of a training run."),
        ({"weights": "ema"}, "keeps no moving average"),
    ],
)
def test_export_refuses_in_one_sentence(run, trained_run, tmp_path, flags, sentence):
    done = run("export", **({"workdir": trained_run, "out": tmp_path} | flags))
    assert done.returncode == 1
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_export_leaves_a_run_as_it_is_that_it_would_be_written_over(run, trained_run):
    before = (trained_run / "config.json").read_bytes()
    done = run("export", workdir=trained_run, out=trained_run)
    assert done.returncode == 1 and f"{trained_run} is a training run's work directory, whose config" in done.stderr
    assert (trained_run / "config.json").read_bytes() == before
