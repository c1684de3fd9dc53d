"""What --config takes beside a file: the name of a config that is installed, and the config.json of a run."""

import json
import shutil
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from lisa_jax.commands._config_name import located, names
from lisa_jax.commands._parsing import parse_flags
from lisa_jax.configs import openmoji_base, openmoji_flow_base, sd21_lisa
from lisa_jax.experiments.fields import check_control, check_pretraining
from lisa_jax.experiments.saved_run import read_config


@pytest.fixture
def parsed(tmp_path, monkeypatch):
    """Words of a command line -> the config that they make, read in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def parsed(*words):
        values = flags.FlagValues()
        monkeypatch.setattr(flags, "FLAGS", values)
        monkeypatch.setattr("lisa_jax.commands._parsing.flags.FLAGS", values)
        config_flags.DEFINE_config_file("config", None, "", flag_values=values)
        # Where ml_collections looks for the fields that flags set.
        monkeypatch.setattr("sys.argv", ["train", *words])
        parse_flags(["train", *words])
        return values.config

    yield parsed
    # ml_collections loads each config file into the same module, where names of one would be found in the next.
    sys.modules.pop("config_config", None)


@pytest.mark.parametrize("name", ["sd21_lisa:depth,smoke", "configs/sd21_lisa.py:depth,smoke"])
def test_a_config_of_the_package_goes_by_its_name_wherever_one_is(parsed, name):
    usual = sd21_lisa.get_config("depth,smoke").to_dict()
    assert parsed(f"--config={name}").to_dict() == usual
    assert parsed("--config", name, "--config.seed=7").to_dict() == usual | {"seed": 7}


def test_a_file_that_is_there_comes_before_a_name(parsed, tmp_path):
    (tmp_path / "sd21_lisa").write_text("")
    assert located("sd21_lisa:pose") == "sd21_lisa:pose"


def test_a_work_directory_that_is_called_as_a_config_does_not_take_its_place(parsed, tmp_path):
    (tmp_path / "sd21_lisa").mkdir()
    assert parsed("--config=sd21_lisa:pose").to_dict() == sd21_lisa.get_config("pose").to_dict()


def test_a_flag_sets_sizes_that_are_no_squares(parsed, tmp_path, capsys):
    def size(*words):
        return check_control(parsed("--config=sd21_lisa:pose", *words)).data.image_size

    assert size() == 512
    assert size("--config.data.image_size=384") == 384
    assert size("--config.data.image_size=512x768") == (512, 768)
    assert size("--config.data.image_size", "(512, 768)") == (512, 768)
    assert size("--config.data.image_size=8x512x768") == (8, 512, 768)
    saved = parsed("--config=sd21_lisa:pose", "--config.data.image_size=512x768").to_json()
    (tmp_path / "config.json").write_text(saved)
    again = f"--config={tmp_path}/config.json"
    assert parsed(again).data.image_size == (512, 768)
    assert parsed(again, "--config.data.image_size=96").data.image_size == 96
    with pytest.raises(SystemExit, match=r"--config\.data\.image_size=512by768: must be one number, HEIGHTxWIDTH or"):
        size("--config.data.image_size=512by768")


def test_a_name_that_is_none_is_refused_with_those_that_there_are(parsed, capsys):
    with pytest.raises(SystemExit, match=r"--config=sd22 is not there: .*sd21_lisa.*studies/main_openmoji"):
        parsed("--config=sd22:pose")
    assert all(not name.startswith(("base", "recipes", "studies/base")) for name in names())


def test_the_config_of_a_run_starts_it_again_and_takes_flags(parsed, trained_run, tmp_path):
    workdir = tmp_path / "a: b"
    workdir.mkdir()
    shutil.copy(trained_run / "config.json", workdir)
    # Under another name it is still this file, and not its neighbour, that counts.
    renamed = json.loads((workdir / "config.json").read_text()) | {"seed": 11}
    (workdir / "mine.json").write_text(json.dumps(renamed))
    assert parsed(f"--config={workdir}/mine.json").seed == 11
    again = parsed(f"--config={workdir}/config.json").to_json(sort_keys=True)
    assert again == read_config(trained_run).to_json(sort_keys=True)
    changed = parsed(f"--config={workdir}/config.json", "--config.ema_decay=.9", "--config.optimizer.fresh_steps=3")
    assert (changed.ema_decay, changed.optimizer.fresh_steps) == (0.9, 3)
    check_control(changed)
    channels = parsed(f"--config={workdir}/config.json", "--config.condition_channels=(8, 16)").condition_channels
    assert channels == (8, 16)


@pytest.mark.parametrize("made", [openmoji_base, openmoji_flow_base])
def test_the_config_of_a_pretraining_starts_it_again_and_takes_flags(made, parsed, tmp_path):
    config = made.get_config()
    (tmp_path / "config.json").write_text(config.to_json())
    again = parsed(f"--config={tmp_path}/config.json")
    assert check_pretraining(again).to_json(sort_keys=True) == config.to_json(sort_keys=True)
    widths = [f"--config={tmp_path}/config.json", "--config.data.image_size=16", "--config.text.width=32"]
    changed = check_pretraining(parsed(*widths, "--config.trackers=()"))
    assert (changed.data.image_size, changed.text.width, changed.trackers) == (16, 32, ())
    with pytest.raises(ValueError, match="is of `lisa_jax pretrain`"):
        check_control(again)
    # As an earlier version wrote it.
    old = config.to_dict()
    del old["trackers"], old["optimizer"]["name"], old["optimizer"]["schedule_steps"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    again = check_pretraining(parsed(f"--config={tmp_path}/config.json"))
    assert again.to_json(sort_keys=True) == config.to_json(sort_keys=True)
