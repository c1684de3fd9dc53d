"""`lisa_jax report` as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = "docs/results/openmoji_regimes"


@pytest.fixture(scope="module")
def report(command_env):
    def call(*arguments):
        argv = [sys.executable, "-m", "lisa_jax", "report", *map(str, arguments)]
        return subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)

    return call


def test_reports_on_a_study_and_a_training_run_together(report, trained_run, tmp_path):
    out = tmp_path / "new" / "report.html"
    done = report(STUDY, trained_run, f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert f"The report is in {out}" in done.stderr
    page = out.read_text()
    assert "14 runs (8 plain, 6 with LISA) of 3 tasks make 6 pairs." in page
    assert "Training: line art" in page and "data:image/webp;base64," in page
    assert "--config=configs/studies/openmoji_regimes.py" in page
    assert len(page) < 3e6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out=report.html"], "error: Name the folders to report on"),
        (["tests/launch", "--out=report.html"], "error: tests/launch holds nothing to report"),
    ],
)
def test_refuses_in_one_sentence(report, arguments, sentence):
    done = report(*arguments)
    assert done.returncode == 1 and sentence in done.stderr and "Traceback" not in done.stderr
