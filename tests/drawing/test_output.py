"""The folder of samples: what it holds is whole and of one kind."""

import numpy as np
import pytest

from lisa_jax.drawing.output import SampleFolder
from lisa_jax.media.image import IMAGE

SETTINGS = {"seed": 0, "sampling": {"num_steps": 20, "names": ("a", "b")}}
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)


def test_pictures_are_there_when_they_are_whole(tmp_path, monkeypatch):
    out = SampleFolder(tmp_path / "out", IMAGE, SETTINGS)
    out.write(7, PICTURE)
    assert out.finished() == {7}
    np.testing.assert_array_equal(out.read(7), PICTURE)

    def dies_half_way(image, path, format):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("PIL.Image.Image.save", dies_half_way)
    with pytest.raises(KeyboardInterrupt):
        out.write(8, PICTURE)
    assert SampleFolder(tmp_path / "out", IMAGE, SETTINGS).finished() == {7}


def test_other_settings_are_refused_by_name(tmp_path):
    SampleFolder(tmp_path, IMAGE, SETTINGS).write(0, PICTURE)
    SampleFolder(tmp_path, IMAGE, SETTINGS)
    with pytest.raises(ValueError, match=r"settings.json: seed was 0 and is 1 now: give another --out"):
        SampleFolder(tmp_path, IMAGE, SETTINGS | {"seed": 1})
    with pytest.raises(ValueError, match="split was null and is"):
        SampleFolder(tmp_path, IMAGE, SETTINGS | {"split": "test"})


def test_more_examples_continue_and_others_are_refused(tmp_path):
    SampleFolder(tmp_path, IMAGE, SETTINGS, ["a", "b"]).write(0, PICTURE)
    SampleFolder(tmp_path, IMAGE, SETTINGS, ["a", "b", "c"])
    SampleFolder(tmp_path, IMAGE, SETTINGS, ["a"])
    with pytest.raises(ValueError, match="example 2 had another prompt or condition"):
        SampleFolder(tmp_path, IMAGE, SETTINGS, ["a", "b", "d"])


def test_settings_bind_once_a_picture_is_there(tmp_path):
    SampleFolder(tmp_path, IMAGE, SETTINGS)
    SampleFolder(tmp_path, IMAGE, SETTINGS | {"seed": 1}).write(0, PICTURE)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"no settings\.json"):
        SampleFolder(tmp_path, IMAGE, SETTINGS)
