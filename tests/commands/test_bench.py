"""The benchmark command and what it measures with."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from lisa_jax.commands._work._phases import TIME_IS_OVER
from lisa_jax.training.measure import peak_flops, time_steps

ROOT = Path(__file__).parents[2]


# What reads data, checkpoints and pictures.
UNUSED = ("grain", "tensorflow_datasets", "array_record", "orbax", "tensorboardX", "pyarrow", "cv2", "PIL", "resvg_py")


@pytest.mark.slow
def test_bench_of_an_architecture_alone(tmp_path):
    """With the packages that an architecture alone does not need out of reach."""
    for name in UNUSED:
        (tmp_path / "poison" / name).mkdir(parents=True)
        (tmp_path / "poison" / name / "__init__.py").write_text(f"raise SystemExit('{name} was imported.')\n")
    env = os.environ | {"PYTHONPATH": f"{tmp_path / 'poison'}{os.pathsep}{ROOT}"}
    out = tmp_path / "bench.json"
    command = [
        sys.executable,
        "-m",
        "lisa_jax",
        "bench",
        "--config=configs/sd21_lisa.py:pose,smoke",
        # Which is not there, so that the config's preset is taken.
        f"--config.base={tmp_path / 'base'}",
    ]
    command += ["--warmup=1", "--steps=2", "--config.batch_size=2", "--config.accumulate=1", f"--out={out}"]
    command += [f"--phases={tmp_path / 'phases.jsonl'}", "--seconds=500"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["batch_size"] == 2 and found["images_per_second_per_device"] > 0
    assert found["flops_per_image"] > 1e7 and found["mfu"] is None  # a CPU's peak is not known
    assert found["step_ms"]["p10"] <= found["step_ms"]["p90"] and 0 <= found["waiting_share"] <= 1
    assert "images/s a device" in done.stdout
    phases = [json.loads(line) for line in (tmp_path / "phases.jsonl").read_text().splitlines()]
    reached = ["devices", "weights and a batch", "lowered", "compiled", "second step", "timed"]
    assert [line["phase"] for line in phases] == reached
    assert phases[-1]["images_per_second_per_device"] == pytest.approx(found["images_per_second_per_device"], rel=0.01)
    assert found["preset"] == "tiny_sd21" and "of the preset tiny_sd21, with random weights" in done.stdout


def test_when_its_time_is_over_a_command_ends_and_what_was_reached_is_kept(tmp_path):
    script = f"""
import time
from lisa_jax.commands._work._phases import Phases
phases = Phases({str(tmp_path / "phases.jsonl")!r}, seconds=0.3)
phases.reached("compiled", gib=1.5)
time.sleep(60)
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=50)
    assert done.returncode == TIME_IS_OVER, done.stderr
    first, last = (json.loads(line) for line in (tmp_path / "phases.jsonl").read_text().splitlines())
    assert (first["phase"], first["gib"]) == ("compiled", 1.5)
    assert last["phase"] == "the 0.3 s are over" and 0.2 < last["seconds"] < 30


def test_times_count_waiting_and_leave_the_warm_up_out():
    def batches():
        for index in range(6):
            time.sleep(0.3 if index < 3 else 0.02)
            yield index

    step = jax.jit(lambda state, frozen, batch, key: (state + 1, state * batch))
    state, times = time_steps(step, jnp.float32(0), None, batches(), None, warmup=2, steps=3)
    assert state == 6 and times.step.shape == (3,)
    assert 0.05 < times.waiting.sum() < 0.3 and times.step.sum() < 0.3
    assert 0.5 < times.waiting_share <= 1.05


def test_warm_up_must_not_be_left_out():
    with pytest.raises(ValueError, match="warmup is 0"):
        time_steps(None, None, None, iter(()), None, warmup=0, steps=1)


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("cpu", None),
    ],
)
def test_peak_of_a_device_kind(kind, peak):
    assert peak_flops(SimpleNamespace(device_kind=kind)) == peak
