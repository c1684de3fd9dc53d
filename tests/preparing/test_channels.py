"""How many channels conditions have: what a preparation finds, and what it refuses."""

import re

import numpy as np
import pytest
from toys import preparing as toy

from lisa_jax.data.rows import RowError
from lisa_jax.preparing.channels import asked_channels, with_channels
from lisa_jax.preparing.encoding import Encoding
from lisa_jax.preparing.images import ImageMaker
from lisa_jax.preparing.prepare import prepare


def first(channels):
    return lambda example: example["image"][..., :channels]


def maker(function, **fields):
    return ImageMaker(toy.SIZES, ("pose",), {"own": function}, 0.3, **fields)


def test_a_function_says_it_by_the_first_row_that_can_be_used():
    def of_later_rows(example):
        if example["caption"] == "number 0":
            raise ValueError("nobody is in the picture")
        return first(2)(example)

    table = toy.Table(5, {1: "image"})
    with pytest.raises(RowError, match="nobody is in the picture"):
        with_channels(maker(of_later_rows), table, skip_bad_rows=False)
    found = with_channels(maker(of_later_rows, channels={"pose": 1}), table, skip_bad_rows=True)
    assert found.channels == {"pose": 1, "own": 2}
    assert with_channels(maker(None), toy.Table(0), skip_bad_rows=True).channels == {}


def test_another_row_of_another_number_is_refused_by_row():
    found = with_channels(maker(first(1)), toy.Table(1), skip_bad_rows=True)
    other = maker(lambda example: np.zeros((*example["image"].shape[:2], 4), np.uint8), channels=found.channels)
    with pytest.raises(ValueError, match=r"^table\.parquet row 2: condition 'own' has 4 channels, but others have 1"):
        other(toy.Table(3)[2])


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (np.zeros((16, 16, 5), np.uint8), "row 0: condition 'own' has 5 channels, but there may be 1 to 4."),
        (np.zeros((16, 16, 0), np.uint8), "row 0: condition 'own' has 0 channels, but there may be 1 to 4."),
        (np.zeros((16, 16), np.uint8), "gives uint8 (16, 16), but must give uint8 (16, 16, channels)."),
        (np.zeros((16, 8, 1), np.uint8), "gives uint8 (16, 8, 1), but must give uint8 (16, 16, channels)."),
    ],
)
def test_what_no_condition_can_be_is_refused(made, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        with_channels(maker(lambda example: made), toy.Table(1), skip_bad_rows=True)


def test_columns_are_asked_for_by_name():
    assert asked_channels(["pose=1", "seg=4"], ("pose", "seg")) == {"pose": 1, "seg": 4}
    with pytest.raises(ValueError, match=r"^--channels=depth=1: there is no --condition_column of that name"):
        asked_channels(["depth=1"], ("pose",))
    for flag in ("pose", "pose=5", "pose=one"):
        with pytest.raises(ValueError, match=f"^--channels={flag}: write pose=NUMBER, from 1 to 4"):
            asked_channels([flag], ("pose",))


def test_a_base_that_encodes_conditions_takes_colours_alone(tmp_path):
    encoding = Encoding(toy.LATENTS, toy.HALVED, fingerprint="abc", batch_size=4)
    with pytest.raises(ValueError, match="'pose' has channels: 4, but this base encodes conditions as it does images"):
        encoding.shapes((16, 16), {"pose": 4})
    task = toy.task(encoding=encoding)
    assert prepare(toy.Table(4), task, tmp_path / "set", workers=1).channels == {"pose": 3, "negative": 3}
