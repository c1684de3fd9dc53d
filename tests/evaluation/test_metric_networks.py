"""What is loaded for a task and how its measures are named; the networks themselves are replaced by small ones."""

import hashlib
import json

import numpy as np
import pytest

from lisa_jax.evaluation import metric_networks
from lisa_jax.evaluation.local_networks import LocalNetwork, ManifestError, local_file
from lisa_jax.evaluation.metric_networks import load_metric_networks, measure_all, wanted_by
from lisa_jax.evaluation.onnx_network import NetworkInput

TAKES = NetworkInput((4, 4), (0.0,) * 3, (1.0,) * 3, "rgb", "nchw")
SHA256 = hashlib.sha256(b"weights").hexdigest()
CAPTIONS = ["near", "far"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files for every role that count as networks: depth and labels are the red channel, CLIP's score is the mean
    value of the picture plus the caption's length, LPIPS the mean difference."""
    onnx = {"size": [4, 4], "mean": [0, 0, 0], "std": [1, 1, 1], "channels": "rgb", "layout": "nchw"}
    manifest = {
        "depth": {"format": "onnx", "output": "inverse_depth"} | onnx,
        "segmentation": {"format": "onnx", "output": "labels"} | onnx,
        "clip": {"format": "folder"},
        "alexnet": {"format": "torch"},
        "lpips": {"format": "torch"},
    }
    for role, entry in manifest.items():
        entry |= {"file": f"{role}.file", "sha256": SHA256}
        path = tmp_path / entry["file"]
        if role == "clip":
            path.mkdir()
            path /= "model.safetensors"
        path.write_bytes(b"weights")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    def load(folder, role):
        dtype = np.float32 if role == "depth" else np.uint8
        return LocalNetwork(
            local_file(folder, role), lambda image: [image[..., 0].astype(dtype)], lambda out, *_: out[0], TAKES
        )

    monkeypatch.setattr(metric_networks, "load_network", load)
    monkeypatch.setattr(metric_networks, "load_clip", lambda path: path.name)
    monkeypatch.setattr(metric_networks, "load_lpips", lambda *paths: [path.name for path in paths])
    monkeypatch.setattr(
        metric_networks, "clip_scores", lambda clip, images, captions: images.mean((1, 2, 3)) + list(map(len, captions))
    )
    monkeypatch.setattr(
        metric_networks, "lpips", lambda net, images, others: np.abs(images - 1.0 * others).mean((1, 2, 3))
    )
    return tmp_path


@pytest.fixture
def references():
    return np.random.default_rng(0).integers(0, 100, (2, 4, 4, 3), np.uint8)


def drop(folder, *roles):
    entries = json.loads((folder / "manifest.json").read_text())
    kept = {role: entry for role, entry in entries.items() if role not in roles}
    (folder / "manifest.json").write_text(json.dumps(kept))


def test_a_task_is_measured_by_everything_that_the_manifest_offers(folder, references):
    networks = load_metric_networks(folder, "depth")
    assert (networks.clip, networks.lpips) == ("clip.file", ["alexnet.file", "lpips.file"])
    assert networks.identities == {
        role: {"file": f"{role}.file", "sha256": SHA256} for role in ("depth", "clip", "alexnet", "lpips")
    }
    wanted = wanted_by(networks, references)
    samples = references + np.uint8(50)
    found = measure_all(networks, samples, references, CAPTIONS, wanted)
    assert found == {
        "depth_rmse": pytest.approx(0, abs=1e-7),  # depth is up to scale and shift
        "aligned_depth_rmse": pytest.approx(0, abs=1e-7),
        "clip_score": pytest.approx(samples.mean() + 3.5),
        "lpips": pytest.approx(50),
    }
    truth = {"depth": 1 / (200.0 - references[..., 0])}  # the other way round: near is far
    assert (
        measure_all(networks, samples, references, CAPTIONS, wanted_by(networks, references, truth))["depth_rmse"] > 0.3
    )


def test_parts_of_a_composed_task_are_named(folder, references):
    drop(folder, "clip", "alexnet", "lpips")
    networks = load_metric_networks(folder, "depth+segmentation")
    found = measure_all(networks, references, references, CAPTIONS, wanted_by(networks, references))
    assert found.keys() == {"depth/depth_rmse", "depth/aligned_depth_rmse", "segmentation/miou"}
    assert found["segmentation/miou"] == 1
    drop(folder, "clip", "alexnet", "lpips", "depth")
    networks = load_metric_networks(folder, "depth+segmentation")
    found = measure_all(networks, references, references, CAPTIONS, wanted_by(networks, references))
    assert found == {"segmentation/miou": 1}


def test_tasks_without_a_network_still_have_the_scores(folder, references):
    networks = load_metric_networks(folder, "lineart")
    assert networks.identities.keys() == {"clip", "alexnet", "lpips"}
    found = measure_all(networks, references, references, CAPTIONS, wanted_by(networks, references))
    assert found.keys() == {"clip_score", "lpips"} and found["lpips"] == 0


@pytest.mark.parametrize("role", ["alexnet", "lpips"])
def test_lpips_needs_both_files(folder, role):
    drop(folder, role)
    with pytest.raises(ManifestError, match="needs both 'alexnet' and 'lpips'"):
        load_metric_networks(folder, "depth")


@pytest.mark.parametrize("name", ["depth.file", "clip.file/model.safetensors", "alexnet.file", "lpips.file"])
def test_every_file_is_checked_before_use(folder, name):
    (folder / name).write_bytes(b"other weights")
    with pytest.raises(ManifestError, match=f"{name} has the sha256"):
        load_metric_networks(folder, "depth")
