"""The folder of samples: what it holds is whole and of one kind."""

import json

import numpy as np
import pytest

from lisa_jax.drawing.output import DATA_SET, SampleFolder
from lisa_jax.media.image import IMAGE
from lisa_jax.media.video import VIDEO

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


def test_clips_are_folders_of_frames_where_every_bit_counts(tmp_path):
    out = SampleFolder(tmp_path / "out", VIDEO.in_format("png"), SETTINGS)
    clip = np.stack([PICTURE, PICTURE[::-1]])
    (tmp_path / "out" / "00003").write_text("of somebody")
    out.write(7, clip, fps=5)
    assert out.finished() == {7} and list(SampleFolder(tmp_path / "out", VIDEO, SETTINGS).finished()) == []
    np.testing.assert_array_equal(out.read(7), clip)
    with pytest.raises(ValueError, match="no format 'mp4' of what this base makes: give png"):
        IMAGE.in_format("mp4")


def test_other_settings_are_refused_by_name(tmp_path):
    SampleFolder(tmp_path, IMAGE, SETTINGS).write(0, PICTURE)
    SampleFolder(tmp_path, IMAGE, SETTINGS)
    with pytest.raises(ValueError, match=r"settings.json: seed was 0 and is 1 now: give another --out"):
        SampleFolder(tmp_path, IMAGE, SETTINGS | {"seed": 1})
    with pytest.raises(ValueError, match="split was missing and is"):
        SampleFolder(tmp_path, IMAGE, SETTINGS | {"split": "test"})


def example(prompt="cat", file="a.png", sha256="0", size=(4, 4)):
    conditions = {"pose": {"file": file, "sha256": sha256}}
    digest = f"{prompt} {sha256}"
    return {
        "prompt": prompt,
        "negative_prompt": None,
        "conditions": conditions,
        "size": list(size),
        "digest": digest,
    }


def test_what_differs_is_said_in_words(tmp_path):
    base = {"base": "0" * 64, "side networks": ["1" * 64]}
    SampleFolder(tmp_path, IMAGE, SETTINGS | base).write(0, PICTURE)
    other = {"base": "2" * 64, "side networks": ["1" * 64], "sampling": {"num_steps": 30, "names": ["a", "b"]}}
    with pytest.raises(ValueError) as refusal:
        SampleFolder(tmp_path, IMAGE, SETTINGS | other)
    said = str(refusal.value)
    assert "base is another than it was; sampling.num_steps was 20 and is 30" in said
    assert "side networks" not in said and "000" not in said


def test_more_examples_continue_and_others_are_refused(tmp_path):
    first, second = example(), example("dog", "b.png", "1")
    SampleFolder(tmp_path, IMAGE, SETTINGS, [first, second]).write(0, PICTURE)
    SampleFolder(tmp_path, IMAGE, SETTINGS, [first, second, example("third")])
    SampleFolder(tmp_path, IMAGE, SETTINGS, [first])
    for other, complaint in {
        "example 1 had the prompt 'dog' and has 'cow' now": example("cow", "b.png", "1"),
        "example 1 had the condition file b.png and has c.png now": example("dog", "c.png", "2"),
        "example 1 had the condition file b.png, whose content has changed": example("dog", "b.png", "2"),
        "example 1 had the size": example("dog", "b.png", "1", size=(4, 8)),
    }.items():
        with pytest.raises(ValueError, match=other):
            SampleFolder(tmp_path, IMAGE, SETTINGS, [first, complaint])
    # The same picture under another name is the same.
    SampleFolder(tmp_path, IMAGE, SETTINGS, [first, example("dog", "elsewhere.png", "1")])


def test_folders_of_before_go_on(tmp_path):
    SampleFolder(tmp_path, IMAGE, SETTINGS).write(0, PICTURE)
    then = SETTINGS | {"image_size": [4, 4], "examples": ["cat 0", "dog 1"]}
    (tmp_path / "settings.json").write_text(json.dumps(then))
    SampleFolder(tmp_path, IMAGE, SETTINGS, [example()])
    (tmp_path / "settings.json").write_text(json.dumps(then))
    with pytest.raises(ValueError, match="example 0 had another prompt or condition"):
        SampleFolder(tmp_path, IMAGE, SETTINGS, [example("cow")])
    with pytest.raises(ValueError, match=r"example 0 had the size \[4, 4\]: give"):
        SampleFolder(tmp_path, IMAGE, SETTINGS, [example(size=(8, 8))])


def test_other_data_under_the_same_name_are_noticed(tmp_path):
    then = SETTINGS | {"data": {"dir": "data/pose"}}
    SampleFolder(tmp_path, IMAGE, then).write(0, PICTURE)
    # What was made before the data were noted.
    SampleFolder(tmp_path, IMAGE, then | {DATA_SET: "0" * 64})
    with pytest.raises(ValueError, match="what the data are is another than it was"):
        SampleFolder(tmp_path, IMAGE, then | {DATA_SET: "1" * 64})


def test_damaged_settings_and_foreign_files_are_told(tmp_path):
    out = SampleFolder(tmp_path, IMAGE, SETTINGS)
    (tmp_path / "7.png").write_text("of somebody")
    (tmp_path / "00008.png").mkdir()
    assert out.finished() == set()
    out.write(0, PICTURE)
    for content, complaint in {"{": "is not valid JSON", "{}": "has no list of examples"}.items():
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(ValueError, match=rf"settings\.json {complaint}.*: give another --out"):
            SampleFolder(tmp_path, IMAGE, SETTINGS)


def test_settings_bind_once_a_picture_is_there(tmp_path):
    SampleFolder(tmp_path, IMAGE, SETTINGS)
    SampleFolder(tmp_path, IMAGE, SETTINGS | {"seed": 1}).write(0, PICTURE)
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"no settings\.json"):
        SampleFolder(tmp_path, IMAGE, SETTINGS)
