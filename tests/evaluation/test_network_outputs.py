import numpy as np
import pytest
from scipy.special import expit, softmax

from lisa_jax.evaluation.network_outputs import (
    class_labels,
    class_logits,
    depth,
    heatmaps,
    inverse_depth,
    keypoints,
    mask2former,
    openpose,
)
from lisa_jax.evaluation.onnx_network import NetworkInput

UNIT = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "rgb"
NCHW, NHWC = NetworkInput((8, 8), *UNIT, "nchw"), NetworkInput((8, 8), *UNIT, "nhwc")


@pytest.mark.parametrize("shape", [(1, 4, 6), (1, 1, 4, 6), (1, 4, 6, 1)])
def test_depth_maps_of_every_layout_keep_their_values(shape):
    values = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(inverse_depth([values.reshape(shape)], NCHW, (4, 6)), values)
    np.testing.assert_allclose(depth([values.reshape(shape)], NCHW, (4, 6)), 1 / values)


def test_depth_is_resized_to_the_picture():
    ramp = np.tile(np.arange(8, dtype=np.float32), (1, 8, 1))
    wide = inverse_depth([ramp], NCHW, (4, 16))
    assert wide.shape == (4, 16) and wide.dtype == np.float32
    # Half-pixel centres: two new pixels stand a quarter to either side of an old one.
    np.testing.assert_allclose(wide[:, 4:12].reshape(4, 4, 2).mean(-1), np.tile(np.arange(2, 6), (4, 1)), atol=1e-5)
    assert (np.diff(wide, axis=1) > 0).all()


def test_depth_without_an_inverse_or_of_two_maps_is_refused():
    with pytest.raises(ValueError, match=r"smallest depth is 0\.0"):
        depth([np.zeros((1, 4, 4), np.float32)], NCHW, (4, 4))
    with pytest.raises(ValueError, match="must be one map"):
        inverse_depth([np.zeros((1, 2, 4, 4), np.float32)], NCHW, (4, 4))
    with pytest.raises(ValueError, match="2 outputs"):
        inverse_depth([np.zeros((1, 4, 4))] * 2, NCHW, (4, 4))


@pytest.mark.parametrize("takes", [NCHW, NHWC])
def test_class_of_the_highest_logit(takes):
    labels = np.array([[0, 149], [7, 7]])
    logits = np.eye(150, dtype=np.float32)[labels][None]  # (1, 2, 2, 150)
    logits = logits.transpose(0, 3, 1, 2) if takes is NCHW else logits
    found = class_logits([logits], takes, (4, 4))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, labels.repeat(2, 0).repeat(2, 1))


def test_151_classes_are_not_taken_for_150():
    with pytest.raises(ValueError, match=r"\(1, 151, 2, 2\), but must be 150 maps"):
        class_logits([np.zeros((1, 151, 2, 2), np.float32)], NCHW, (4, 4))


def test_labels_go_to_the_nearest_pixel():
    labels = np.array([[[0, 149], [3, 7]]])
    np.testing.assert_array_equal(class_labels([labels], NCHW, (4, 2)), labels[0].repeat(2, 0))
    np.testing.assert_array_equal(class_labels([labels.astype(np.float32)], NCHW, (2, 2)), labels[0])
    for wrong in (labels + 1, labels - 1, labels + 0.5):
        with pytest.raises(ValueError, match="whole numbers from 0 to 149"):
            class_labels([wrong], NCHW, (2, 2))


def test_mask2former_weighs_masks_by_their_classes():
    rng = np.random.default_rng(0)
    classes, masks = rng.normal(0, 3, (1, 5, 151)), rng.normal(0, 4, (1, 5, 8, 8))
    probabilities = softmax(classes, -1)[0, :, :150]
    expected = np.tensordot(expit(masks[0]), probabilities, (0, 0)).argmax(-1)
    found = mask2former([masks, classes], NCHW, (8, 8))  # in any order
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 1


def test_mask2former_ignores_no_object_and_refuses_other_outputs():
    classes = np.zeros((1, 2, 151), np.float32)
    classes[0, 0, 150], classes[0, 1, 9] = 9, 1  # the first query, sure of no object, covers everything
    masks = np.full((1, 2, 4, 4), 5, np.float32)
    assert (mask2former([classes, masks], NCHW, (4, 4)) == 9).all()
    with pytest.raises(ValueError, match=r"class logits \(1, queries, 151\)"):
        mask2former([classes[..., :150], masks], NCHW, (4, 4))
    with pytest.raises(ValueError, match="name them in output_names"):
        mask2former([classes], NCHW, (4, 4))


@pytest.mark.parametrize("takes", [NCHW, NHWC])
def test_heatmaps_give_pixel_centres_of_the_picture(takes):
    maps = np.zeros((1, 18, 4, 8), np.float32)
    maps[0, :, 1, 6] = 0.7
    maps[0, 3, 3, 0] = 0.9
    maps = maps if takes is NCHW else maps.transpose(0, 2, 3, 1)
    (person,) = heatmaps([maps], takes, (8, 32))  # 2 and 4 pixels to a place of the map
    np.testing.assert_allclose(person[0], [26, 3, 0.7], rtol=1e-6)
    np.testing.assert_allclose(person[3], [2, 7, 0.9], rtol=1e-6)


def test_coco_points_are_put_into_openpose_order():
    names = ["nose", "leye", "reye", "lear", "rear", "lsho", "rsho", "lelb", "relb", "lwri", "rwri"]
    names += ["lhip", "rhip", "lkne", "rkne", "lank", "rank"]
    order = ["nose", "neck", "rsho", "relb", "rwri", "lsho", "lelb", "lwri"]
    order += ["rhip", "rkne", "rank", "lhip", "lkne", "lank", "reye", "leye", "rear", "lear"]
    people = np.random.default_rng(0).uniform(0, 8, (1, 2, 17, 3)).astype(np.float32)
    found = keypoints([people], NCHW, (8, 16))  # twice as wide as the input
    assert found.shape == (2, 18, 3)
    for index, name in enumerate(order):
        if name == "neck":
            shoulders = people[0][:, [names.index("lsho"), names.index("rsho")]]
            expected = np.concatenate([shoulders[..., :2].mean(1), shoulders[..., 2].min(1)[:, None]], -1)
        else:
            expected = people[0][:, names.index(name)]
        np.testing.assert_allclose(found[:, index], expected * [2, 1, 1], rtol=1e-6, err_msg=name)


def test_openpose_points_stay_and_one_person_may_lack_the_axis():
    points = np.random.default_rng(0).uniform(0, 8, (1, 18, 3)).astype(np.float32)
    np.testing.assert_array_equal(keypoints([points], NCHW, (8, 8)), points)
    assert keypoints([np.zeros((1, 0, 18, 3), np.float32)], NCHW, (8, 8)).shape == (0, 18, 3)
    with pytest.raises(ValueError, match="18 or 17, 3"):
        keypoints([points[:, :16]], NCHW, (8, 8))


@pytest.mark.parametrize("takes", [NCHW, NHWC])
def test_openpose_takes_two_outputs_in_any_order_or_one(takes, monkeypatch):
    given = []
    monkeypatch.setattr("lisa_jax.evaluation.network_outputs.find_people", lambda *maps: given.append(maps))
    together = np.random.default_rng(0).normal(size=(1, 57, 6, 6)).astype(np.float32)
    confidence, affinity = together[:, :19], together[:, 19:]
    if takes is NHWC:
        together, confidence, affinity = (maps.transpose(0, 2, 3, 1) for maps in (together, confidence, affinity))
    for outputs in ([together], [confidence, affinity], [affinity, confidence]):
        openpose(outputs, takes, (6, 6))
    for found in given:
        np.testing.assert_array_equal(found[0], given[0][0])
        np.testing.assert_array_equal(found[1], given[0][1])
    plain = together if takes is NCHW else together.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(given[0][0], plain[0, :18])  # without the background
    np.testing.assert_array_equal(given[0][1], plain[0, 19:])
    with pytest.raises(ValueError, match="38 maps"):
        openpose([confidence, confidence], takes, (6, 6))
