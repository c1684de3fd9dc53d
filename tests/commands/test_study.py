"""The command `lisa_jax study` on the tiny data: runs, continues, refuses to mix, summarises."""

import json
import re
import subprocess
import sys

import pytest
from toys.study_file import study_file


@pytest.fixture(scope="module")
def study(tmp_path_factory, tiny_base, command_env):
    folder = tmp_path_factory.mktemp("study")
    config = folder / "config.py"
    defaults = {"num_steps": 4, "batch_size": 4, "hook": "mid"}
    grid = {"task": "segmentation", "lam": (0.0, 0.2)}
    config.write_text(study_file(base=str(tiny_base), defaults=defaults, grid=grid))

    def run(*flags, returncode=0):
        argv = [sys.executable, "-m", "lisa_jax", "study", f"--config={config}", f"--out={folder / 'out'}", *flags]
        done = subprocess.run(argv, env=command_env, capture_output=True, text=True)
        assert done.returncode == returncode, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run, folder / "out"


@pytest.mark.slow
def test_a_study_runs_continues_and_does_not_mix(study):
    run, out = study
    output = run("--cell=1")
    assert "segmentation_lam0.2_mid" in output
    # Its bar.
    assert re.search(r"segmentation_lam0\.2_mid\S*: .* \d/4 .*step", output)
    (file,) = out.glob("*.jsonl")
    assert file.name == "cell_1.jsonl"

    output = run()
    assert "1/1 segmentation_plain" in output and "lam0.2" not in output
    assert "segmentation" not in run().replace(str(out), "")

    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert rows[0]["identity"]["protocol"]["training"]["eval_every"] == 2
    assert rows[0]["title"] == "learning rates, weights and hooks"
    assert [point["step"] for point in rows[1]["curve"]] == [2, 4]
    assert 0 <= rows[1]["curve"][-1]["fidelity/miou"] <= 1
    references = json.loads((out / "references.json").read_text())["segmentation"]
    assert references["real"]["miou"] == 1 and references["other"]["miou"] < 1

    summary = run("--summary")
    assert "### segmentation" in summary and "| 0.2 | mid | 1 |" in summary

    told = run("--config.training.sampling.num_steps=2", returncode=1)
    assert "another study: protocol.training.sampling.num_steps was 1 and is 2 now. Use another --out." in told
