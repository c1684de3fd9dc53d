"""What a config may ask of a prepared data set, and what of it reaches the model."""

from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from lisa_jax.data.prepared.metadata import Metadata
from lisa_jax.experiments import channels, splits
from lisa_jax.experiments.channels import choose_channels
from lisa_jax.experiments.conditions import choose_condition
from lisa_jax.experiments.splits import Split, load_split, training_batches

FAMILY = SimpleNamespace(fingerprint="abc")


def config(condition, **noted):
    data = {"name": "prepared", "dir": "data/set", "condition": condition}
    return ConfigDict({"data": {**data, **({"conditioning_channels": noted} if noted else {})}})


@pytest.fixture
def prepared(monkeypatch):
    """A data set with moments of two conditions, in place of the one that is asked for."""
    source = SimpleNamespace(
        channels={"pose": 3, "seg": 1},
        cached=("moments", "context"),
        empty_context=np.zeros((1, 2)),
        check_base=lambda fingerprint: None,
    )
    monkeypatch.setattr(splits, "load_prepared", lambda folder, split: source)
    return source


@pytest.mark.parametrize("kind", ["condition", "condition_moments"])
def test_conditions_that_the_config_does_not_name_are_left_out(prepared, kind):
    split = load_split(config("seg", seg=1), FAMILY, "train")
    inputs = split.make_inputs({"caption": "a", "index": 0, "inputs": {"moments": 1, kind: {"pose": 2, "seg": 3}}})
    assert inputs == {"moments": 1, kind: {"seg": 3}}
    assert split.empty is prepared.empty_context and not split.reads_captions


def test_a_condition_that_was_not_prepared_is_refused(prepared):
    with pytest.raises(ValueError, match=r"data/set holds no condition 'depth': there is pose, seg; set config"):
        load_split(config("depth"), FAMILY, "train")


def test_a_condition_of_other_channels_than_the_network_takes_is_refused(prepared):
    with pytest.raises(ValueError, match="condition 'seg' in 1 channels, but the side network was made for 3"):
        load_split(config("seg"), FAMILY, "train")


def test_the_channels_of_the_data_are_noted_where_they_are_not_3(monkeypatch):
    def noted(asked):
        monkeypatch.setattr(Metadata, "read", lambda folder: SimpleNamespace(channels={"pose": 3, "seg": 1, "x": 4}))
        choose_channels(asked)
        return asked.data.to_dict().get("conditioning_channels")

    assert noted(config("pose")) is None
    assert noted(config(("seg", "pose"))) == {"seg": 1}
    assert noted(config(("seg", "x"), x=4, seg=1)) == {"seg": 1, "x": 4}
    with pytest.raises(ValueError, match="gives the condition 'pose' 4, but in the data it has 3: leave the field out"):
        noted(config("pose", pose=4))
    with pytest.raises(ValueError, match="conditioning_channels names 'seg', but the conditions are pose: leave the"):
        noted(config("pose", seg=1))


def test_a_function_of_ones_own_is_asked_on_embedded_data(monkeypatch, tmp_path):
    (tmp_path / "two_channels.py").write_text("def lit(example):\n    return example['image'][..., :2]\n")
    monkeypatch.syspath_prepend(tmp_path)
    example = {"image": np.zeros((4, 4, 3), np.uint8)}
    monkeypatch.setattr(channels, "load_embedded", lambda name, size, split: [example])
    asked = ConfigDict({"data": {"name": "openmoji", "image_size": 4, "condition": "two_channels:lit"}})
    choose_channels(asked)
    assert asked.data.conditioning_channels.to_dict() == {"lit": 2}


def test_anything_is_the_only_condition_of_the_data_set(monkeypatch):
    def chosen(*held, asked="anything"):
        monkeypatch.setattr(Metadata, "read", lambda folder: SimpleNamespace(conditions=held))
        choose_condition(asking := config(asked))
        return asking.data.condition

    assert chosen("my_edges") == "my_edges"
    assert chosen("pose", "anything") == "anything"
    assert chosen("pose", "seg", asked="depth") == "depth"
    with pytest.raises(ValueError, match=r"data/set holds pose and seg: say which .* --config.data.condition=NAME"):
        chosen("pose", "seg")
    with pytest.raises(ValueError, match="data/set holds no condition"):
        chosen()


def test_the_first_examples_are_the_first_whatever_their_sizes():
    class Rows(list):
        size_index = np.array([1, 0, 1, 0, 0])

    rows = Rows({"caption": str(number), "size": size} for number, size in enumerate(Rows.size_index))
    split = Split(rows, FAMILY, lambda example: {"side": np.full((2 + example["size"],), 0.0)}, None)
    found = [list(batch["index"]) for batch in split.first(3).ordered_batches(8)]
    assert found == [[1], [0, 2]]
    assert len(split.first(99).source) == 5


def test_cached_moments_are_not_mirrored(prepared):
    split = Split(prepared, FAMILY, dict, prepared.empty_context)
    with pytest.raises(ValueError, match=r"cached moments, which cannot be mirrored: set config\.data\.flip to False"):
        training_batches(ConfigDict({"data": {"flip": True}}), split)


@pytest.mark.parametrize(("asked", "fits"), [(512, True), ((512, 640), True), (64, False), ((640, 512), False)])
def test_data_of_another_size_than_the_config_says_are_refused(prepared, asked, fits):
    prepared.sizes = ((512, 512), (512, 640))
    split = Split(prepared, FAMILY, dict, prepared.empty_context)
    # Flipping is refused after the size, which ends both here.
    wrong = ConfigDict({"data": {"dir": "data/set", "image_size": asked, "flip": True}})
    sentence = (
        "cached moments" if fits else "data/set was prepared at 512x512, 512x640 .* but config.data.image_size is"
    )
    with pytest.raises(ValueError, match=sentence):
        training_batches(wrong, split)
