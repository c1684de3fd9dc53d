"""The command `lisa_jax train` as a user runs it: killed, resumed, on several devices and processes, and refused."""

import json
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from lisa_jax.checkpoints.checkpoint import CheckpointError
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family
from lisa_jax.parallel.stop_signals import STOPPED_EARLY


@pytest.fixture
def start(command_env):
    """Start a command; what is still running at the end of the test is killed."""
    started = []

    def popen(argv, **env):
        process = subprocess.Popen(
            argv, env=command_env | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.wait()


def finish(process, returncode=0):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == returncode, output
    return output


def read_state(workdir, step):
    with ocp.StandardCheckpointer() as checkpointer:
        return jax.tree.map(np.asarray, checkpointer.restore(workdir / "checkpoints" / str(step) / "state"))


def assert_close(lines, expected, tolerance):
    assert [line.keys() for line in lines] == [line.keys() for line in expected]
    for line, other in zip(lines, expected, strict=True):
        difference = {name: abs(value - other[name]) / max(abs(other[name]), 1e-3) for name, value in line.items()}
        worst = max(difference, key=difference.get)
        print(f"step {line['step']}: largest relative difference {difference[worst]:.1e} ({worst})")
        assert difference[worst] < tolerance


def test_what_a_run_leaves(trained_run, metrics_of):
    output = (trained_run / "output.txt").read_text()
    assert "mesh: {'data': 1, 'fsdp': 1, 'tensor': 1} over cpu" in output
    assert re.search(r"compiling the training step \.\.\.\s+.*\.\.\. \(\d+ s\)", output, re.DOTALL)
    assert "warning" not in output.lower()
    assert re.search(r"each device holds [\d.]+ MiB: frozen [\d.]+ MiB, trainable [\d.]+ MiB, optimizer", output)
    assert re.search(r"frozen in total +[\d,]+ +[\d.]+  float32", output)
    assert re.search(r"trainable/decoder/down_1/lineart +[\d,]+", output)
    assert re.search(r"trainable/side/lineart/controlnet_cond_embedding +[\d,]+", output)

    lines = metrics_of(trained_run)
    training = [line for line in lines if "loss" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 8]
    for line in training:
        assert {"grad_norm", "grad_norm/side", "grad_norm/decoder", "update_norm", "learning_rate"} <= line.keys()
        assert line["main_over_target"] == pytest.approx(line["main_loss"] / line["target_power"])
        assert line["align_over_gap"] == pytest.approx(line["align_loss"] / line["gap_power"])
        assert line["loss"] == pytest.approx(line["main_loss"] + 0.2 * line["align_loss"], rel=1e-5)
        quartiles = {f"{name}_q{q}" for name in ("main_over_target", "align_over_gap") for q in (1, 2, 3, 4)}
        assert quartiles & line.keys()
    assert '"images_per_second"' in (trained_run / "metrics.jsonl").read_text()
    validation = [line for line in lines if "validation/main_loss" in line]
    assert [line["step"] for line in validation] == [4, 8]
    gradients = [line for line in lines if "trunk_gradient/main" in line]
    assert [line["step"] for line in gradients] == [4, 8]
    for line in gradients:
        norms = line["trunk_gradient/main"], line["trunk_gradient/lam_align"]
        assert min(norms) > 0 and line["trunk_gradient/ratio"] == pytest.approx(norms[1] / norms[0], rel=1e-5)
        assert 0 < abs(line["trunk_gradient/cosine"]) <= 1

    picture = Image.open(trained_run / "previews" / "samples_0000008.png")
    assert picture.mode == "RGB" and len(picture.getcolors(1 << 20)) > 10
    assert sorted(path.name for path in (trained_run / "checkpoints").iterdir()) == ["6", "8"]
    assert (trained_run / "config.json").is_file()


def test_tensorboard_reads_the_same_numbers(trained_run, metrics_of):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(trained_run / "tensorboard"))
    events.Reload()
    for name in ("loss", "align_over_gap", "grad_norm/side", "validation/main_loss"):
        logged = {event.step: event.value for event in events.Scalars(name)}
        assert logged == pytest.approx({line["step"]: line[name] for line in metrics_of(trained_run) if name in line})
    assert [image.step for image in events.Images("samples")] == [8]


def test_killed_run_finishes_with_the_same_state(trained_run, train_command, start, tmp_path, metrics_of):
    process = start(train_command(tmp_path))
    while not any((tmp_path / "checkpoints" / str(step)).is_dir() for step in (2, 4, 6, 8)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    delay = random.uniform(0, 1.5)
    print(f"killed {delay:.3f} s after the first checkpoint")
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()

    output = finish(start(train_command(tmp_path)))
    assert "resumed after step" in output
    one, other = read_state(tmp_path, 8), read_state(trained_run, 8)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert metrics_of(tmp_path) == metrics_of(trained_run)
    previews = [folder / "previews" / "samples_0000008.png" for folder in (tmp_path, trained_run)]
    assert previews[0].read_bytes() == previews[1].read_bytes()


def test_sigterm_saves_and_ends_well(train_command, start, tmp_path, metrics_of):
    argv = train_command(
        tmp_path, num_steps=1000, save_every=1000, eval_every=1000, preview_every=1000, preview_count=1
    )
    process = start(argv)
    while not (tmp_path / "metrics.jsonl").is_file() or len(metrics_of(tmp_path)) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output = finish(process, STOPPED_EARLY)
    (last,) = re.findall(r"SIGTERM: saving after step (\d+)", output)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [last]
    assert max(line["step"] for line in metrics_of(tmp_path)) <= int(last)


def test_two_processes_give_the_losses_of_one_which_can_go_on(
    trained_run, train_command, start, tmp_path, fake_devices, metrics_of
):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    argv = train_command(tmp_path, num_steps=4, save_every=4, preview_count=1)
    both = [start(argv, **fake_devices(1), LISA_JAX_PROCESSES=f"localhost:{port},2,{index}") for index in range(2)]
    outputs = [finish(process) for process in both]
    assert "mesh: {'data': 2, " in outputs[0]
    assert "mesh" not in outputs[1]  # one of them speaks

    output = finish(start(train_command(tmp_path, num_steps=8)))
    assert "resumed after step 4 of 8" in output
    assert_close(metrics_of(tmp_path), metrics_of(trained_run), tolerance=1e-5)
    one, other = read_state(tmp_path, 8), read_state(trained_run, 8)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one["params"], other["params"])


def test_users_mistakes_end_with_one_sentence(train_command, start, tmp_path):
    argv = train_command(tmp_path)
    cases = {
        r"error: .* field that .* does not have: 'hoook' Did you mean \"hook\" instead of .*": "lisa.hoook=mid",
        r"error: Unknown hook 'down_9': these side networks have down_0, down_1, mid\.": "lisa.hook=mid,down_9",
    }
    started = {message: start([*argv, f"--config.{field}"]) for message, field in cases.items()}
    for message, process in started.items():
        # Before it stands that the test's command gives a flag twice.
        *_, told = finish(process, returncode=1).splitlines()
        assert re.fullmatch(message, told)
    assert not list(tmp_path.iterdir())


def test_base_whose_tensors_do_not_fit(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    config = tmp_path / "base" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [16]}))
    with pytest.raises(CheckpointError, match=r"tensor conv_in.\w+ has shape .* but the config asks for"):
        load_family(tmp_path / "base", Setup()).load_frozen()
