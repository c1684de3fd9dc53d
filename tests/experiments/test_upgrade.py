"""Runs of earlier versions: their configs and identities in today's words."""

import json
import shutil

import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from lisa_jax.configs import base
from lisa_jax.experiments.base import load_base
from lisa_jax.experiments.control import control_experiment
from lisa_jax.experiments.saved_run import load_run, read_config
from lisa_jax.experiments.upgrade import upgrade, upgraded
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.training.checkpoint import Checkpoints
from lisa_jax.training.program import make_program
from lisa_jax.training.state import TrainState

MOVED = "lisa_jax.data.openmoji.layer_classes:segmentation"
TODAY = "lisa_jax.data.embedded.openmoji.layer_classes:segmentation"
# What the first version did not ask.
LATER = {
    None: ("vae", "preset", "diagnostics_every", "loss"),
    "lisa": ("weighting", "decoder_width"),
    "optimizer": ("decoder_rate", "fresh_rate", "fresh_layers", "fresh_steps"),
    "side": ("num_layers", "lora_rank", "condition_init", "zero_convolution_scale"),
}


def make_old(config):
    """Take from a config, as JSON, the fields that the first version did not have."""
    for group, names in LATER.items():
        for name in names:
            del (config[group] if group else config)[name]
    config["remat"] = False
    return config


def test_a_config_without_the_later_fields_is_the_default_of_today():
    config = json.loads(base.control().to_json_best_effort())
    assert upgraded(ConfigDict(config)).to_dict() == config
    assert upgraded(ConfigDict(make_old(json.loads(json.dumps(config))))).to_dict() == config


# The last two: what a flag said when the field was a name already.
@pytest.mark.parametrize(
    ("remat", "name"), [(True, "full"), (False, "none"), ("dots", "dots"), ("True", "full"), ("false", "none")]
)
def test_rematerialisation_that_was_on_or_off_has_a_name(remat, name):
    config = base.control().to_dict() | {"remat": remat}
    assert upgraded(ConfigDict(config)).remat == name


def test_a_condition_whose_module_has_moved_is_found():
    config = base.control()
    config.data.condition = MOVED
    assert upgraded(config).data.condition == TODAY
    here = upgrade(config, None)
    several = here.identity({"data": {"condition": ("seg", "pose")}, "hook": "mid"})
    assert several["side_networks"] == ["pose", "seg"] and several["data"]["condition"] == ("seg", "pose")
    side = {"start_from": None}
    assert here.identity({"data": {"condition": MOVED}, "hook": "mid", "side": side}) == {
        "side": {
            "start_from": None,
            "num_layers": None,
            "lora_rank": None,
            "condition_init": "zero",
            "zero_convolution_scale": 0.0,
        },
        "data": {"condition": TODAY},
        "hook": ["mid"],
        "decoder_width": 1.0,
        "loss_space": "network",
        "optimizer": "adamw",
        "side_networks": ["segmentation"],
    }


# Condition and hook as identities had them -> the trainable tree of then.
LAYOUTS = {
    "plain": ("pose", None, {"side": "P"}),
    "one": ("pose", "mid", {"side": "P", "decoder": "P mid"}),
    "several hooks": ("pose", ["down_0", "mid"], {"side": "P", "decoder": {"down_0": "P down_0", "mid": "P mid"}}),
    "two conditions": (
        ["m:depth", "pose"],
        "mid",
        {"side": {"m:depth": "D", "pose": "P"}, "decoder": {"m:depth": "D mid", "pose": "P mid"}},
    ),
    "two conditions, several hooks": (
        ["m:depth", "pose"],
        ["down_0", "mid"],
        {
            "side": {"m:depth": "D", "pose": "P"},
            "decoder": {hook: {"m:depth": f"D {hook}", "pose": f"P {hook}"} for hook in ("down_0", "mid")},
        },
    ),
}


@pytest.mark.parametrize(("condition", "hook", "then"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_tree_from_before_everything_had_a_name_is_named_wherever_it_is(condition, hook, then):
    names = ["pose"] if condition == "pose" else ["depth", "pose"]
    today = {"side": {name: name[0].upper() for name in names}}
    if hook is not None:
        hooks = [hook] if isinstance(hook, str) else hook
        today["decoder"] = {one: {name: f"{name[0].upper()} {one}" for name in names} for one in hooks}
    layout = upgrade(base.control(), None).layout({"data": {"condition": condition}, "hook": hook})

    def state(params):
        moments = optax.ScaleByAdamState(3, params, params)
        return TrainState(3, params, (optax.EmptyState(), (moments, optax.EmptyState())), params)

    assert layout.to_today(state(then)) == state(today)
    assert layout.to_saved(state(today)) == state(then)


def test_a_run_of_an_earlier_version_is_read(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    config = run / "config.json"
    config.write_text(json.dumps(make_old(json.loads(config.read_text()))))
    saved = json.loads((trained_run / "checkpoints" / "8" / "identity" / "metadata").read_text())
    assert saved.pop("decoder_width") == 1 and saved.pop("side_networks") == ["lineart"]
    assert saved.pop("data_fingerprint") == "openmoji/size_16/1.0.0"
    saved["hook"], saved["data"] = "down_1", {"name": "openmoji", **saved["data"]}
    today = load_run(trained_run)
    layout = upgrade(read_config(run), None).layout(saved)
    params = layout.to_saved({"side": today.side, "decoder": today.decoder})
    assert set(params["decoder"]) > {"conv_out"}, "the only decoder had no name"
    write_checkpoint_of_then(run, trained_run, saved, layout)
    then = load_run(run)
    assert then.step == 8
    assert_same(then.side, today.side)
    assert_same(then.decoder, today.decoder)


def write_checkpoint_of_then(run, trained_run, identity, layout):
    """The newest checkpoint of a run as the first version wrote it."""
    config = read_config(trained_run)
    experiment = control_experiment(config, load_base(config), frozen={}, empty=None)
    program = make_program(experiment, config, make_mesh())
    checkpoints = Checkpoints(trained_run, config.keep, experiment.identity, read_only=True)
    state = checkpoints.restore(program.state)
    checkpoints.close()
    checkpoints = Checkpoints(run, config.keep, identity)
    checkpoints.save(layout.to_saved(state), 8)
    checkpoints.close()


def test_a_decoder_that_an_earlier_version_widened_goes_on_as_it_is(trained_run, tmp_path, caplog):
    config = read_config(trained_run)
    family = load_base(config)
    experiment = control_experiment(config, family, frozen={}, empty=None)
    state = make_program(experiment, config, make_mesh(devices=jax.devices()[:1])).state
    narrow = state.params["decoder"]["down_1"]["lineart"]["conv_0"]["kernel"].shape[-1]
    assert narrow < 64, "the feature has the size of the latents"

    def widened(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        grows = {"conv_0/kernel": 3, "conv_0/bias": 0, "conv_out/kernel": 2}
        axis = next((axis for end, axis in grows.items() if "/decoder/" in name and name.endswith(end)), None)
        shape = tuple(64 if index == axis else side for index, side in enumerate(leaf.shape))
        return np.full(shape, 0.5, leaf.dtype)

    then = jax.tree_util.tree_map_with_path(widened, state)._replace(step=np.int32(8))
    with Checkpoints(tmp_path, 1, experiment.identity, experiment.upgrade) as checkpoints:
        checkpoints.save(jax.device_put(then), 8)
    with Checkpoints(tmp_path, 1, experiment.identity, experiment.upgrade) as checkpoints:
        restored = checkpoints.restore(state)
    assert_same(restored, then)
    assert "An earlier version gave" in caplog.text and f"(64,), not ({narrow},)" in caplog.text
    feature = np.ones((1, 16, 16, narrow), np.float32)
    decoder = restored.params["decoder"]["down_1"]["lineart"]
    assert family.model.sides["lineart"].decode(decoder, feature, np.ones(1), (1, 16, 16, 3)).shape == (1, 16, 16, 3)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
