"""Clips are measured frame by frame, and how their frames follow each other."""

import numpy as np
import pytest

from lisa_jax.evaluation.evaluation_set import EvaluationSet, embedded_set, read_samples
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.evaluation.protocol import evaluate
from lisa_jax.media.image import IMAGE
from lisa_jax.media.video import VIDEO


def mean_colours(clips, indices):
    del indices
    return clips.mean((2, 3)).reshape(len(clips), -1) / 255.0


TOY = Extractor("toy", "fd_toy", "toy_1px", "0" * 64, mean_colours, axes=3)


@pytest.fixture(scope="module")
def clips():
    """Eight clips of three frames of one black line each that moves, and their conditions."""
    conditions = np.zeros((8, 3, 16, 16, 3), np.uint8)
    for number, clip in enumerate(conditions):
        for t, frame in enumerate(clip):
            frame[:, (2 * number + t) % 16] = 255
    return 255 - conditions, conditions


def test_each_frame_counts_as_a_picture(clips):
    samples, conditions = clips
    half = samples.copy()
    half[:, 1] = 255
    found = fidelity("lineart", half, samples, {"lineart": conditions})
    assert found["f1_tolerance_0"] == pytest.approx(2 / 3)


def test_poses_of_clips_are_read_frame_by_frame():
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 256, (2, 3, 32, 32, 3), np.uint8)
    keypoints = rng.uniform(0, 32, (2, 3, 18, 3)).astype(np.float32)
    keypoints[..., 2] = 1

    def pose(images):
        assert images.shape == (6, 32, 32, 3)
        return keypoints.reshape(6, 18, 3)

    assert fidelity("pose", samples, samples, {}, {"keypoints": keypoints}, {"pose": pose})["pck"] == 1


def test_results_have_motion_quality_of_clips_and_their_size(clips):
    samples, conditions = clips
    still = np.repeat(samples[:, :1], 3, axis=1)
    examples = EvaluationSet(samples, {"lineart": conditions}, ["a"] * 8, embedded=True)
    found = evaluate("lineart", {"control": samples, "still": still}, examples, extractor=TOY)
    assert found["image_size"] == [3, 16, 16]
    assert found["fidelity"]["control"] == found["fidelity"]["real images"]
    assert found["motion"]["control"] == found["motion"]["real images"]
    assert found["motion"]["still"]["tof"] > 0 == found["motion"]["control"]["tof"]
    assert set(found["motion"]["control"]) <= set(found["protocol"])
    assert found["quality"]["control"]["fd_toy"] == pytest.approx(0, abs=1e-6)
    assert found["quality"]["control"]["image_size"] == [3, 16, 16]


def test_pictures_have_no_motion(clips):
    samples, conditions = (rows[:, 0] for rows in clips)
    found = evaluate(
        "lineart", {"a": samples}, EvaluationSet(samples, {"lineart": conditions}, [""] * 8, embedded=True)
    )
    assert "motion" not in found


def test_a_network_of_clips_refuses_pictures_and_the_other_way_round(clips):
    with pytest.raises(ValueError, match=r"Clips must be uint8 \(n, F, H, W, 3\) for the network toy"):
        TOY.features(clips[0][:, 0])
    with pytest.raises(ValueError, match="Pictures must be uint8"):
        Extractor("flat", "fd_flat", "flat", "", mean_colours).features(clips[0])


def test_frames_have_the_captions_of_their_clips(clips):
    samples, conditions = clips
    frames = EvaluationSet(samples, {"lineart": conditions}, [str(n) for n in range(8)]).in_frames()
    assert frames.references.shape == frames.conditions["lineart"].shape == (24, 16, 16, 3)
    assert frames.captions[2:4] == ["0", "1"]


@pytest.mark.parametrize("suffix", ["", ".gif"])
def test_samples_that_are_clips_are_read_by_number(clips, tmp_path, suffix):
    for number in (10, 2):
        VIDEO.write(tmp_path / f"{number:05d}{suffix}", clips[0][number % 8])
    (tmp_path / "samples.json").write_text("{}")
    indices, found = read_samples(tmp_path)
    assert indices == [2, 10] and found.shape == (2, 3, 16, 16, 3)
    np.testing.assert_array_equal(found[0], clips[0][2])


def test_folders_of_pictures_and_clips_are_refused(clips, tmp_path):
    VIDEO.write(tmp_path / "00000", clips[0][0])
    VIDEO.write(tmp_path / "00001", clips[0][0, :2])
    with pytest.raises(ValueError, match="00001 is 2x16x16, but 00000 is 3x16x16"):
        read_samples(tmp_path)
    IMAGE.write(tmp_path / "00002.png", clips[0][0, 0])
    with pytest.raises(ValueError, match="both pictures and clips"):
        read_samples(tmp_path)


@pytest.mark.parametrize(("data", "size"), [("figures", (8, 32, 32)), ("figures_video", (32, 32))])
def test_embedded_data_of_the_other_kind_are_refused(data, size):
    with pytest.raises(ValueError, match=f"The data set {data} holds"):
        embedded_set(data, "pose", [0], size)
