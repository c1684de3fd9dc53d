import hashlib

import cv2
import numpy as np
import pytest
from PIL import Image

from lisa_jax.data.conditions import registry as conditions
from lisa_jax.data.conditions.names import identifier_of, name_of
from lisa_jax.data.conditions.openpose import draw_openpose
from lisa_jax.data.conditions.palettes import ade20k_palette
from lisa_jax.data.conditions.registry import get_condition, register
from lisa_jax.data.embedded.figures.body import PARTS
from lisa_jax.data.embedded.tasks import TASK_CONDITIONS


def darkest(example):
    return np.broadcast_to(example["image"].min(axis=-1, keepdims=True), example["image"].shape)


def test_lineart_becomes_three_equal_channels():
    lines = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    condition = get_condition("lineart")({"lineart": lines})
    assert condition.shape == (4, 4, 3) and condition.dtype == np.uint8
    np.testing.assert_array_equal(condition, np.concatenate([lines] * 3, axis=-1))


def test_lowres_keeps_block_means_and_loses_detail():
    flat = np.full((16, 16, 3), (10, 200, 30), np.uint8)
    np.testing.assert_array_equal(get_condition("lowres")({"image": flat}), flat)
    # Columns alternate 0, 255: every 4 x 4 block has the same mean, so nothing of the pattern is left.
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 255
    condition = get_condition("lowres")({"image": stripes})
    assert condition.shape == (16, 16, 3) and condition.dtype == np.uint8
    assert set(np.unique(condition)) <= {127, 128}


def test_lowres_refuses_other_sides():
    with pytest.raises(ValueError, match="18x16"):
        get_condition("lowres")({"image": np.zeros((16, 18, 3), np.uint8)})


def test_outlines_are_where_labels_change_and_nowhere_else():
    labels = np.zeros((6, 8), np.uint8)
    labels[2:5, 3:7] = 9
    lines = get_condition("outlines")({"labels": labels})
    expected = np.zeros((6, 8), bool)
    expected[[1, 4], 3:7] = expected[2:5, [2, 6]] = True
    assert lines.shape == (6, 8, 3) and lines.dtype == np.uint8
    np.testing.assert_array_equal(lines, np.where(expected, 255, 0)[..., None].repeat(3, -1))
    with pytest.raises(ValueError, match=r"'outlines' needs integer labels \(H, W\), not float64"):
        get_condition("outlines")({"labels": labels / 2})


def test_canny_finds_the_outline_and_nothing_else():
    # Two colours of the same brightness: an edge in colour is an edge.
    image = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    image[8:24, 8:24] = (0, 130, 0)
    edges = get_condition("canny")({"image": image})
    assert edges.shape == (32, 32, 3) and edges.dtype == np.uint8
    assert set(np.unique(edges)) == {0, 255}
    np.testing.assert_array_equal(edges[:, :, 0], edges[:, :, 2])
    rows, columns = np.nonzero(edges[:, :, 0])
    assert {rows.min(), columns.min()} <= {7, 8} and {rows.max(), columns.max()} <= {23, 24}
    assert not edges[11:21, 11:21].any()
    assert 40 < len(rows) < 100


def test_canny_is_that_of_the_controlnets_on_any_layout():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((96, 64), Image.Resampling.BICUBIC)
    image = np.asarray(image)
    edges = get_condition("canny")({"image": image})
    np.testing.assert_array_equal(edges[:, :, 1], cv2.Canny(image, 100, 200))
    assert 0.02 < (edges > 0).mean() < 0.3
    # A view, as crops and flips are.
    view = np.asfortranarray(image)
    np.testing.assert_array_equal(get_condition("canny")({"image": view}), edges)


def test_segmentation_gives_every_label_its_own_colour():
    labels = np.arange(256).reshape(16, 16)
    painted = get_condition("segmentation")({"labels": labels})
    assert painted.shape == (16, 16, 3) and painted.dtype == np.uint8
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 256
    # The first colours of PASCAL VOC.
    assert painted[0, :4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]


def test_ade20k_colours_are_the_ones_controlnets_know():
    labels = np.array([[0, 1, 2, 3], [13, 150, 255, 5]])
    painted = get_condition("segmentation_ade20k")({"labels": labels})
    wall, building, sky, person = (120, 120, 120), (180, 120, 120), (6, 230, 230), (150, 5, 61)
    flag, tree = (92, 0, 255), (4, 200, 3)
    expected = [[(0, 0, 0), wall, building, sky], [person, flag, (0, 0, 0), tree]]
    np.testing.assert_array_equal(painted, expected)
    # The whole table, as mmsegmentation and the ControlNet annotator have it.
    digest = hashlib.sha256(ade20k_palette()[1:].tobytes()).hexdigest()
    assert digest == "ce475c9151035eff51f4cf27fd7d906959b1480f6d15b9423ae2417c1b23a0ed"


def test_figure_parts_have_colours_far_apart():
    labels = np.arange(len(PARTS), dtype=np.uint8)[None]
    colours = get_condition("figure_parts")({"labels": labels})[0].astype(float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[~np.eye(len(PARTS), dtype=bool)].min() >= 85
    assert colours[PARTS.index("wall")].tolist() == [0, 0, 0]


def test_pose_is_drawn_in_the_size_of_the_image():
    keypoints = np.zeros((18, 3), np.float32)
    keypoints[[5, 6, 7]] = [(10, 8, 1), (20, 12, 1), (22, 20, 1)]
    condition = get_condition("pose")({"image": np.zeros((24, 40, 3), np.uint8), "keypoints": keypoints})
    assert condition.dtype == np.uint8 and condition.any()
    np.testing.assert_array_equal(condition, draw_openpose(keypoints, 24, 40))


def test_depth_is_inverse_and_stretched_over_the_picture():
    distance = np.array([[1, 2], [4, 2]], np.float32)
    condition = get_condition("depth")({"depth": distance})
    assert condition.shape == (2, 2, 3) and condition.dtype == np.uint8
    np.testing.assert_array_equal(condition[..., 0], [[255, 85], [0, 85]])
    np.testing.assert_array_equal(condition[..., 1], condition[..., 2])
    # Whatever the unit.
    np.testing.assert_array_equal(get_condition("depth")({"depth": 1000 * distance}), condition)
    assert not get_condition("depth")({"depth": np.full((2, 2), 3.0)}).any()


@pytest.mark.parametrize("missing", [0.0, -1.0, np.nan, np.inf])
def test_depth_refuses_what_is_no_distance(missing):
    with pytest.raises(ValueError, match="'depth' needs finite distances above 0"):
        get_condition("depth")({"depth": np.array([[1.0, missing]])})


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("segmentation", [[0, 256]], "labels 0 to 255, but the map holds 0 to 256"),
        ("segmentation", [[-1, 0]], "the map holds -1 to 0"),
        ("segmentation_ade20k", [[3, 151]], "knows labels 0 to 150 and 255, but the map holds 151"),
        ("segmentation_ade20k", [[-1, 0]], "the map holds -1 to 0"),
        ("segmentation", [[0.5]], "needs integer labels"),
        ("segmentation_ade20k", [[[1, 2, 3]]], r"needs integer labels \(H, W\)"),
    ],
)
def test_labels_without_a_colour_are_refused(name, labels, message):
    with pytest.raises(ValueError, match=f"Condition '{name}' .*{message}"):
        get_condition(name)({"labels": np.array(labels)})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("lineart", "use 'canny' for photographs"),
        ("segmentation", "name the column that holds it"),
        ("segmentation_ade20k", "name the column that holds it"),
        ("figure_parts", "name the column that holds it"),
        ("pose", "does not find them in a picture"),
        ("depth", "does not estimate them"),
    ],
)
def test_conditions_say_what_they_lack(name, advice):
    with pytest.raises(ValueError, match=rf"Condition '{name}' needs '.*', .*\['caption', 'image'\]; .*{advice}"):
        get_condition(name)({"image": np.zeros((8, 8, 3), np.uint8), "caption": "a photograph"})


def test_own_condition_by_decorator_and_by_reference(monkeypatch):
    monkeypatch.setattr(conditions, "_CONDITIONS", dict(conditions._CONDITIONS))
    register("darkest")(darkest)
    assert get_condition("darkest") is darkest
    with pytest.raises(ValueError, match="'darkest' exists already"):
        register("darkest")(darkest)
    reference = "lisa_jax.data.conditions.registry:lowres"
    assert get_condition(reference, [reference]) is conditions.lowres


def test_unknown_conditions_say_what_there_is_for_photographs_first():
    with pytest.raises(
        ValueError, match=r"Unknown condition 'canni': computed from a picture alone are canny, lowres; .* depth, fig"
    ):
        get_condition("canni")
    for name, complaint in {
        "no_such_module:function": "no_such_module",
        "lisa_jax.data.conditions.registry:nothing": "has no function 'nothing'",
        ":function": "not of the form module:function",
        "a/b:function": "not of the form module:function",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            get_condition(name, [name])


def test_no_module_is_imported_that_the_user_did_not_name(tmp_path, monkeypatch):
    (tmp_path / "of_somebody.py").write_text(
        "def seen(example): return example['image']\nraise SystemExit('was run')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"run the module 'of_somebody': .* add --condition_module=of_somebody:seen"):
        get_condition("of_somebody:seen", ["of_somebody:other", "another:seen"])
    with pytest.raises(SystemExit, match="was run"):
        get_condition("of_somebody:seen", ["of_somebody:seen"])
    for own in TASK_CONDITIONS["openmoji"].values():
        assert callable(get_condition(own))


@pytest.mark.parametrize("name", ["../../x", "module:../x", "a b", "", "a/b", "1st"])
def test_names_of_conditions_are_fit_for_files(name):
    with pytest.raises(ValueError, match="is no name: use letters"):
        name_of(name)


def test_a_folder_goes_by_the_nearest_name():
    names = ["sd-controlnet-canny", "owner.v1@main", "11_pose", "pose"]
    assert [*map(identifier_of, names)] == ["sd_controlnet_canny", "owner_v1_main", "_11_pose", "pose"]
