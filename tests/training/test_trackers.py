"""What runs tell their trackers; wandb's part as wandb itself writes it offline."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys.crash import Crash, crash_at

from lisa_jax.media.video import VIDEO
from lisa_jax.training.experiment import Evaluation, Report
from lisa_jax.training.loop import fit
from lisa_jax.training.trackers import check_installed
from lisa_jax.training.tracking import Record

BLOCK = 32768


def records(path):
    """The records of a .wandb file: a log of LevelDB's format, whose blocks hold pieces of them."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, pieces = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        pieces, at = pieces + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):
            yield Record.FromString(pieces)
            pieces = b""


def logged(path):
    """Names and values of each line that a .wandb file has."""
    for record in records(path):
        if record.HasField("history"):
            items = record.history.item
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_wandb_gets_config_numbers_and_pictures_and_a_resumed_run_goes_on_under_its_id(
    toy, tmp_path, monkeypatch, metrics_of
):
    for name, value in {"MODE": "offline", "SILENT": "true", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    picture = np.zeros((8, 8, 3), np.uint8)
    clip = {"samples": VIDEO.moving({"": picture[None, None]})}
    shown = Evaluation(4, lambda params, frozen: Report({"validation/loss": 1.0}, {"samples": picture}, clip))

    def train(before_step=None):
        experiment = dataclasses.replace(toy.experiment(before_step), evaluations=(shown,))
        fit(experiment, toy.config(trackers=("wandb",)), tmp_path)

    with pytest.raises(Crash):
        train(crash_at(7))
    train()
    first, second = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    (run,) = (record.run for record in records(second) if record.HasField("run"))
    assert f"run-{run.run_id}.wandb" == first.name == second.name
    assert json.loads(next(field.value_json for field in run.config.update if field.key == "optimizer"))["b2"] == 0.99
    lines = [line for path in (first, second) for line in logged(path)]
    # The step between checkpoint and crash is told by the run that went on.
    for expected in metrics_of(tmp_path):
        assert any(expected.items() <= line.items() for line in lines), expected
    assert [line["step"] for line in lines if "samples/_type" in line or "samples" in line] == [4, 8]
    assert [line["step"] for line in lines if "samples_moving/_type" in line or "samples_moving" in line] == [4, 8]
    # Nobody has named it.
    assert not (tmp_path / "tensorboard").exists()


def test_clips_are_in_the_work_directory_and_move_in_tensorboard(toy, tmp_path):
    clip = VIDEO.moving(
        {"": np.arange(4, dtype=np.uint8)[None, :, None, None, None] * np.full((8, 8, 3), 60, np.uint8)}
    )
    record = Record(tmp_path, 0, toy.config(trackers=("tensorboard",)))
    record.clips(4, {"samples": clip})
    record.close()
    assert (tmp_path / "previews" / "samples_0000004.gif").read_bytes() == clip
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (image,) = events.Images("samples_moving")
    assert image.step == 4 and image.encoded_image_string == clip


def test_a_tracker_that_is_not_installed_is_told_with_what_installs_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    # A folder that wandb has left is none of its code.
    (tmp_path / "wandb").mkdir()
    check_installed(("tensorboard",))
    with pytest.raises(ValueError, match=r"names wandb, which is not installed: pip install 'lisa_jax\[wandb\]'"):
        check_installed(("tensorboard", "wandb"))
