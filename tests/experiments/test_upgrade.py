"""Runs of earlier versions: their configs and identities in today's words."""

import json
import shutil

import pytest
from ml_collections import ConfigDict

from configs import base
from lisa_jax.experiments.trained_run import load_run
from lisa_jax.experiments.upgrade import upgraded, upgraded_identity

MOVED = "lisa_jax.data.openmoji.layer_classes:segmentation"
TODAY = "lisa_jax.data.embedded.openmoji.layer_classes:segmentation"
# What the first version did not ask.
LATER = {None: ("preset", "diagnostics_every"), "lisa": ("weighting", "decoder_width"), "optimizer": ("decoder_rate",)}


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
    assert upgraded_identity({"data": config.data.to_dict()})["data"] == config.data.to_dict() | {"condition": TODAY}
    # The names of several conditions are those of their parameters.
    both = {"condition": ["lineart", MOVED]}
    assert upgraded_identity({"data": both})["data"] == both


def test_a_run_of_an_earlier_version_is_read(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = run / "config.json"
    config.write_text(json.dumps(make_old(json.loads(config.read_text()))))
    identity = run / "checkpoints" / "8" / "identity" / "metadata"
    saved = json.loads(identity.read_text())
    assert saved.pop("decoder_width") == 1
    identity.write_text(json.dumps(saved))
    assert load_run(run).step == 8
