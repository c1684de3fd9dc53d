"""Which conditions are resized without mixing colours."""

import logging

import pytest
from ml_collections import ConfigDict

from lisa_jax.data.embedded.tasks import TASK_CONDITIONS
from lisa_jax.data.prepared.metadata import Metadata
from lisa_jax.drawing.class_colours import class_conditions


def config(name, condition, folder="nowhere"):
    return ConfigDict({"data": {"name": name, "dir": str(folder), "condition": condition}})


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"nearest": ["seg"], "conditions": {"seg": "given", "pose": "given"}}, {"seg"}),
        ({"nearest": [], "conditions": {"seg": "segmentation_ade20k", "pose": "canny"}}, {"seg"}),
        ({"nearest": ["other"], "conditions": {"seg": "given"}}, set()),
        # Of earlier versions, or of somebody.
        ({}, set()),
        ({"nearest": 3, "conditions": ["seg"]}, set()),
    ],
)
def test_prepared_data_say_which(monkeypatch, settings, found):
    metadata = Metadata(((8, 8),), {}, None, settings, 0, {})
    monkeypatch.setattr(Metadata, "read", staticmethod(lambda folder: metadata))
    assert class_conditions(config("prepared", ("seg", "pose"))) == found


def test_some_are_known_by_name():
    segmentation = TASK_CONDITIONS["openmoji"]["segmentation"]
    assert class_conditions(config("openmoji", (segmentation, "lineart"))) == {"segmentation"}
    assert class_conditions(config("openmoji", "a_module:segmentation")) == set()


def test_data_that_are_not_at_hand_leave_it_open(tmp_path, caplog):
    logging.getLogger("lisa_jax").propagate = True
    assert class_conditions(config("prepared", "seg", tmp_path)) == set()
    assert "whether colours of seg are classes is not known; where they are, add --nearest=seg" in caplog.text
