"""Which data a run may go on with: the same, wherever they lie."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from lisa_jax.experiments import data_identity as module
from lisa_jax.experiments.data_identity import check_same_everywhere, data_identity, with_data_fingerprint

USED = {"image_size": 64, "condition": "pose", "flip": False}


def config(folder="/data/pose", **changes):
    return ConfigDict({"data": {"name": "prepared", "dir": folder, **USED} | changes})


def test_where_data_lie_does_not_matter_and_what_they_are_does():
    here = data_identity(config(), "abc")
    assert here == data_identity(config("/mnt/pose"), "abc") == {"data": USED, "data_fingerprint": "abc"}
    assert here != data_identity(config(), "def")
    assert here != data_identity(config(condition="seg"), "abc")
    # Who reads a checkpoint alone does not know its data.
    assert data_identity(config(), None) == {"data": USED}


@pytest.mark.parametrize("then", [config().data.to_dict(), config(image_size=512).data.to_dict()], ids=["same", "size"])
def test_a_run_that_knew_its_data_by_their_place_goes_on_there(then):
    saved = {"seed": 0, "data": then}
    assert with_data_fingerprint(saved, config(), "abc") == {"seed": 0, **data_identity(config(), "abc")}
    assert with_data_fingerprint(saved, config(), None) == {"seed": 0, **data_identity(config(), None)}
    moved = with_data_fingerprint(saved, config("/mnt/pose"), "abc")
    assert moved["data_fingerprint"] == "that of /data/pose, noted by its place alone"


def test_embedded_data_are_known_by_their_name():
    embedded = ConfigDict({"data": {"name": "openmoji", **USED}})
    saved = {"data": embedded.data.to_dict()}
    assert with_data_fingerprint(saved, embedded, "openmoji/1")["data_fingerprint"] == "openmoji/1"
    figures = ConfigDict({"data": {"name": "figures", **USED}})
    assert "openmoji" in with_data_fingerprint(saved, figures, "figures/1")["data_fingerprint"]


def test_an_identity_of_today_stays_as_it_is():
    saved = {"seed": 0, **data_identity(config(), "abc")}
    assert with_data_fingerprint(saved, config("/mnt/pose"), "def") == saved


def test_data_that_differ_between_machines_are_refused_by_all(monkeypatch):
    check_same_everywhere("abc")
    monkeypatch.setattr(module.jax, "process_count", lambda: 3)
    of_process_2 = []
    monkeypatch.setattr(module.multihost_utils, "process_allgather", lambda found: [found, found, *of_process_2, found])
    check_same_everywhere("abc")
    of_process_2.append(np.zeros(32, np.uint8))
    with pytest.raises(ValueError, match=r"^Process 2 finds other data than process 0 under the same name: bring"):
        check_same_everywhere("abc")
