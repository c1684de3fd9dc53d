"""The command `lisa_jax probe` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from toys.study_file import study_file

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def probe(command_env):
    def call(**flags):
        argv = [f"--{name}" if value is True else f"--{name}={value}" for name, value in flags.items()]
        return subprocess.run(
            [sys.executable, "-m", "lisa_jax", "probe", *argv],
            env=command_env,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )

    return call


@pytest.mark.slow
def test_a_training_run_is_probed_and_shown(probe, trained_run, tmp_path):
    out = tmp_path / "probes.jsonl"
    done = probe(workdir=trained_run, out=out)
    assert done.returncode == 0, done.stderr
    assert "probing features: " in done.stderr and "probing the gap: " in done.stderr and "noise level" in done.stderr
    (line,) = map(json.loads, out.read_text().splitlines())
    assert (line["id"], line["lam"], line["hook"], line["task"], line["step"], line["seed"]) == (
        "trained_run",
        0.2,
        "down_1",
        "lineart",
        8,
        0,
    )
    # All of the tiny data, and nothing of it twice.
    assert line["pictures"] == {"fit": 56, "validation": 18, "test": 7}
    found = {(row["feature"], row["target"], row["quantile"]): row for row in line["rows"]}
    assert len(found) == 3 * (3 * 5 + 1)
    # down_0 sees x_t itself, hence the picture where there is little noise.
    assert found["down_0", "clean", 0.1]["r2"] > 0.6 > 0.2 > found["down_0", "clean", 0.9]["r2"]
    assert all(row["r2"] <= 1 and row["untrained"] <= 1 for row in found.values())
    # Eight steps have moved the features, but not far.
    moved = [abs(row["r2"] - row["untrained"]) for row in found.values()]
    assert 1e-6 < max(moved) < 0.5
    assert [share["quantile"] for share in line["decoder"]] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert all(-0.5 < share[name] < 0.5 for share in line["decoder"] for name in ("r2", "network_r2"))

    shown = probe(out=out, summary=True)
    assert shown.returncode == 0, shown.stderr
    assert "### lineart, step 8: lam 0.2 at down_1" in shown.stdout and "| condition | mid |" in shown.stdout


def test_it_refuses_in_one_sentence(probe):
    done = probe(study="nowhere")
    assert done.returncode == 1
    assert "error: Give --config, with which the study in --study ran." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_study_of_composed_tasks_with_several_hooks_is_probed(probe, tiny_base, command_env, tmp_path):
    config, study = tmp_path / "config.py", tmp_path / "study"
    grid = {"task": "lineart+lowres", "lam": (0.0, 0.2), "hook": "down_0,mid"}
    defaults = {"num_steps": 2, "batch_size": 4}
    config.write_text(study_file(base=str(tiny_base), defaults=defaults, grid=grid, save_side=True))
    argv = [sys.executable, "-m", "lisa_jax", "study", f"--config={config}", f"--out={study}"]
    done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr

    done = probe(study=study, config=config)
    assert done.returncode == 0, done.stderr
    plain, lisa = map(json.loads, (study / "probes.jsonl").read_text().splitlines())
    assert plain["lam"] == 0 and lisa["hook"] == ["down_0", "mid"] and lisa["task"] == "lineart+lowres"
    assert {row["feature"] for row in lisa["rows"]} == {
        f"{hook}/{part}" for hook in ("down_0", "down_1", "mid") for part in ("lineart", "lowres")
    }
    assert {"condition/lineart", "condition/lowres"} < {row["target"] for row in lisa["rows"]}
    assert {"r2", "r2/down_0", "r2/mid", "network_r2"} < set(lisa["decoder"][0])

    # Nothing is left to do, and the study still reads its folder.
    assert probe(study=study, config=config).returncode == 0
    assert len((study / "probes.jsonl").read_text().splitlines()) == 2
    assert "decoder mid" in probe(study=study, config=config, summary=True).stdout
    assert subprocess.run([*argv, "--summary"], env=command_env, capture_output=True, cwd=ROOT).returncode == 0
