"""The base of a config: its architecture with and without its folder, and the side networks beside it."""

import pytest

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.configs import openmoji_lineart, sd15_lisa, sd21_compositional, sd21_lisa, sd21_v_lisa
from lisa_jax.experiments.base import absolute_paths, architecture, chosen_preset, example_size, setup_of, start_folders
from lisa_jax.families.presets import preset_of, write_random_base
from lisa_jax.families.registry import architecture_of


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A place where no base is."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "argument", "preset"),
    [
        (sd15_lisa, "pose", "sd15"),
        (sd21_lisa, "pose", "sd21"),
        (sd21_v_lisa, "pose", "sd21_v"),
        (sd15_lisa, "pose,smoke", "tiny_sd15"),
    ],
)
def test_without_the_base_s_folder_the_architecture_is_that_of_the_config_s_preset(recipe, argument, preset):
    assert architecture(recipe.get_config(argument), None) == preset_of(preset).architecture


def test_the_base_s_own_architecture_goes_before_the_config_s_preset_and_a_named_one_before_both(tmp_path):
    config = sd21_lisa.get_config("pose")
    config.base = str(write_random_base("tiny_sd15", tmp_path / "base"))
    assert architecture(config, None) == architecture_of(open_checkpoint(config.base))
    assert architecture(config, None).unet == preset_of("tiny_sd15").architecture.unet
    assert architecture(config, "sd21_v") == preset_of("sd21_v").architecture
    assert (chosen_preset(config, None), chosen_preset(config, "sd21_v")) == (None, "sd21_v")
    shipped = openmoji_lineart.get_config()
    assert architecture(shipped, None) == architecture_of(open_checkpoint(shipped.base))


def test_what_cannot_be_left_out_is_named_with_what_can():
    config = sd21_lisa.get_config("pose")
    config.leave_out = "vae, text_encoder_3"
    with pytest.raises(ValueError, match="leave_out names 'text_encoder_3', but of this base nothing can be left out"):
        architecture(config, "tiny_sd15")
    with pytest.raises(ValueError, match="leave_out names 'vae', but of this base only text_encoder_3 can be left out"):
        architecture(config, "tiny_sd3_medium")
    config.leave_out = "text_encoder_3"
    assert architecture(config, "tiny_sd3_medium") == preset_of("tiny_sd3_medium").architecture


def test_one_number_is_the_size_of_a_square():
    config = openmoji_lineart.get_config()
    assert example_size(config) == (config.data.image_size,) * 2
    config = sd21_lisa.get_config("pose")
    with config.ignore_type():
        config.data.image_size = (4, 32, 48)
    assert example_size(config) == (4, 32, 48)


def test_neither_base_nor_preset_is_told_in_one_sentence():
    config = openmoji_lineart.get_config()
    config.base = "bases/of_my_own"
    with pytest.raises(ValueError) as refused:
        architecture(config, None)
    assert str(refused.value) == (
        "bases/of_my_own is not there, and the config names no preset: give --preset, or --config.base."
    )
    with pytest.raises(ValueError, match="Unknown preset 'sd16': there are sd15, sd21"):
        architecture(config, "sd16")


def test_the_settings_of_side_networks_are_those_of_the_config():
    config = sd21_compositional.get_config()
    config.side.update(start_from="seg=starts/seg", layers_per_block=1)
    config.lisa.decoder_width = 2.0
    setup = setup_of(config)
    assert setup.conditions == ("pose", "seg")
    assert setup.start_from == {"seg": "starts/seg"}
    assert (setup.block_out_channels, setup.layers_per_block, setup.decoder_width) == (None, 1, 2.0)


def test_a_home_folder_is_filled_in_wherever_a_config_names_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base").mkdir()
    config = sd21_compositional.get_config()
    config.update(base="~/base", data={"dir": "~/prepared"}, side={"start_from": "pose=~/pose,seg=~/seg"})
    assert open_checkpoint(config.base).folder == tmp_path / "base"
    absolute_paths(config)
    assert (config.base, config.data.dir) == (str(tmp_path / "base"), str(tmp_path / "prepared"))
    assert start_folders(config) == {"pose": str(tmp_path / "pose"), "seg": str(tmp_path / "seg")}


def test_names_of_the_hub_stay_as_they_are_beside_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = sd21_compositional.get_config()
    config.update(base="an-owner/base@v1", side={"start_from": "pose=an-owner/pose,seg=seg"})
    absolute_paths(config)
    assert config.base == "an-owner/base@v1"
    assert start_folders(config) == {"pose": "an-owner/pose", "seg": str(tmp_path / "seg")}


def test_folders_to_start_from_by_condition():
    one, two = openmoji_lineart.get_config(), sd21_compositional.get_config()
    assert start_folders(one) == {}
    for given in ("runs/old", "lineart=runs/old"):
        one.side.start_from = given
        assert start_folders(one) == {"lineart": "runs/old"}
    # A folder with = in its name is no other condition.
    one.side.start_from = "runs/lam=0.2"
    assert start_folders(one) == {"lineart": "runs/lam=0.2"}
    two.side.start_from = "pose=runs/pose,seg=runs/seg"
    assert start_folders(two) == {"pose": "runs/pose", "seg": "runs/seg"}
    two.side.start_from = "pose=runs/a,b/pose,seg=runs/c,d"
    assert start_folders(two) == {"pose": "runs/a,b/pose", "seg": "runs/c,d"}
    two.side.start_from = "runs/old"
    with pytest.raises(ValueError, match=r"with the conditions pose, seg write pose=FOLDER"):
        start_folders(two)
