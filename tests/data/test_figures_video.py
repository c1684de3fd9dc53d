import numpy as np
import pytest

from lisa_jax.data.conditions.of_example import condition_of
from lisa_jax.data.conditions.openpose import draw_openpose
from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.embedded.figures.body import PARTS
from lisa_jax.data.embedded.figures.rendering import render
from lisa_jax.data.embedded.figures_video import figures_video_dataset_builder, load_figures_video
from lisa_jax.data.embedded.figures_video.motion import MOVING_POSES, sample_clip
from lisa_jax.data.embedded.load import load_embedded

SIZE = (4, 16, 16)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures_video_dataset_builder, "COUNTS", {"train": 6, "test": 3})
        patch.setenv("LISA_JAX_DATA", str(folder))
        yield {split: load_embedded("figures_video", SIZE, split) for split in ("train", "test")}


def test_a_clip_has_its_frames_and_what_is_true_of_each(clips):
    assert [len(source) for source in clips.values()] == [6, 3]
    assert clips["train"].fingerprint == "figures_video/size_4x16/1.0.0"
    example = clips["test"][1]
    # TFDS shuffles records.
    motions = [sample_clip("test", number, 4) for number in range(3)]
    (scenes,) = (scenes for scenes in motions if scenes[0].caption == example["caption"])
    for number, scene in enumerate(scenes):
        rendered = render(scene, 16)
        for field in ("image", "labels", "keypoints"):
            np.testing.assert_array_equal(example[field][number], getattr(rendered, field))
    np.testing.assert_array_equal(example["first_frame"], example["image"][0])
    assert example["labels"].max() < len(PARTS)
    assert clips["test"].category_names[example["category"]] == scenes[-1].pose
    assert example["size"] == (16, 16)


def test_motions_are_seeded_and_splits_share_none():
    def joints(split, index):
        return np.array([scene.joints for scene in sample_clip(split, index, 3)])

    np.testing.assert_array_equal(joints("train", 2), joints("train", 2))
    assert not np.allclose(joints("train", 2), joints("test", 2))
    assert not np.allclose(joints("train", 2), joints("train", 3))


def test_motions_are_smooth_begin_and_end_at_rest_and_keep_the_lengths_of_limbs():
    for index in range(8):
        scenes = sample_clip("train", index, 17)
        points = np.array([scene.joints for scene in scenes])
        # Of the joint that moves fastest, in metres a frame.
        speeds = np.linalg.norm(np.diff(points, axis=0), axis=-1).max(axis=1)
        assert speeds.max() > 0.02
        assert max(speeds[0], speeds[-1]) < 0.5 * speeds.max() and speeds.max() < 0.35
        forearm = np.linalg.norm(points[:, 3] - points[:, 4], axis=-1)
        np.testing.assert_allclose(forearm, forearm[0])
        # Nothing else moves.
        for name in ("wall_z", "light", "ambient", "diffuse", "caption"):
            assert all(np.array_equal(getattr(scene, name), getattr(scenes[0], name)) for scene in scenes)
        assert len({id(scene.camera) for scene in scenes}) == 1


def test_more_frames_show_the_same_motion_in_smaller_steps():
    few, many = sample_clip("test", 5, 5), sample_clip("test", 5, 9)
    for number in range(5):
        np.testing.assert_allclose(few[number].joints, many[2 * number].joints)
        np.testing.assert_array_equal(render(few[number], 16).image, render(many[2 * number], 16).image)


def test_the_person_stays_in_the_picture():
    for index in range(12):
        for scene in sample_clip("train", index, 3):
            points = render(scene, 32).keypoints[:, :2]
            assert points.min() > 0 and points.max() < 32


def test_conditions_are_drawn_frame_by_frame(clips):
    example = clips["train"][0]
    pose = condition_of(get_condition("pose"), example, 3, name="pose", where="clip 0")
    assert pose.shape == (*SIZE, 3) and pose.dtype == np.uint8
    np.testing.assert_array_equal(pose[2], draw_openpose(example["keypoints"][2], 16, 16))
    outlines = condition_of(get_condition("outlines"), example, 3, name="outlines", where="clip 0")
    np.testing.assert_array_equal(outlines[1], get_condition("outlines")({"labels": example["labels"][1]}))
    parts = condition_of(get_condition("figure_parts"), example, name="figure_parts", where="clip 0")
    assert parts.shape == (*SIZE, 3)


def test_a_frame_without_a_condition_is_named(clips):
    with pytest.raises(ValueError, match="clip 0, frame 0: condition 'flat' gives uint8"):
        condition_of(lambda frame: frame["image"][0], clips["train"][0], name="flat", where="clip 0")


def test_nobody_sits_down():
    assert "sitting" not in MOVING_POSES


@pytest.mark.parametrize(
    ("size", "message"), [((1, 32, 32), "2 frames"), ((8, 12, 12), "16 pixels"), ((8, 32, 48), "square")]
)
def test_sizes_that_no_clip_has_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        load_figures_video(size)
