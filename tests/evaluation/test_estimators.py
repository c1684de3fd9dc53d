import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.data.embedded.figures.rendering import render
from lisa_jax.data.embedded.figures.scenes import sample_scene
from lisa_jax.evaluation.estimator_fitting import augment, fit
from lisa_jax.evaluation.estimators import load_estimator, unit_range, write_estimator
from lisa_jax.evaluation.fidelity import fidelity
from lisa_jax.evaluation.measures.heat_maps import read_points
from lisa_jax.evaluation.measures.pose import pck
from lisa_jax.evaluation.measures.table import MEASURES, measures
from lisa_jax.evaluation.networks.estimators import DenseEstimator

SIZE = 12


def squares(count, seed):
    """A red and a green square somewhere, the key points 0 and 1, which no mirror swaps; the others are hidden."""
    rng = np.random.default_rng(seed)
    images = np.full((count, SIZE, SIZE, 3), 60, np.uint8)
    points = np.zeros((count, 18, 3), np.float32)
    for image, pose in zip(images, points, strict=True):
        for channel, half in enumerate(rng.permutation(2)):
            x, y = 6 * half + rng.integers(1, 5), rng.integers(1, SIZE - 1)
            image[y - 1 : y + 2, x - 1 : x + 2, channel] = 255
            pose[channel] = (x + 0.5, y + 0.5, 1)
    return images, points


def altered(task, images, truth):
    """What `augment` makes of pictures and their truth for the task's network."""
    alter = jax.jit(augment, static_argnums=0)
    altered = alter(MEASURES[task].reading, jnp.asarray(images), jnp.asarray(truth), jax.random.key(0))
    return tuple(map(np.asarray, altered))


def test_a_mirrored_picture_keeps_its_points_and_swaps_left_and_right():
    images = np.zeros((64, SIZE, SIZE, 3), np.uint8)
    images[:, 3, 2] = 255
    points = np.zeros((64, 18, 3), np.float32)
    points[:, 2] = (2.5, 3.5, 1)  # the right shoulder is the white pixel
    alter = jax.jit(augment, static_argnums=0)
    pictures, truth = map(
        np.asarray, alter(MEASURES["pose"].reading, jnp.asarray(images), jnp.asarray(points), jax.random.key(0))
    )
    whites = pictures.sum(-1).reshape(64, -1).argmax(-1)
    seen = {2: 0, 5: 0, None: 0}
    for white, pose in zip(whites, truth, strict=True):
        visible = np.flatnonzero(pose[:, 2])
        point = int(visible[0]) if len(visible) else None
        seen[point] += 1
        if point is not None:
            assert tuple(pose[point, :2] - 0.5) == (white % SIZE, white // SIZE) == ((2, 3) if point == 2 else (9, 3))
    # About half are mirrored: there the left shoulder is the white pixel; a few show nobody.
    assert min(seen[2], seen[5]) > 20 and 0 < seen[None] < 12
    pictures, truth = altered("depth", images, images[..., 0] / 255.0)
    assert (pictures.sum(-1).reshape(64, -1).argmax(-1) == truth.reshape(64, -1).argmax(-1)).all()
    assert len(set(truth.reshape(64, -1).argmax(-1))) == 2


@pytest.mark.slow
def test_a_fitted_network_finds_what_it_was_shown_and_is_the_same_when_read_back(tmp_path):
    params = fit("pose", *squares(256, 0), num_steps=30, batch_size=8, learning_rate=1e-2)
    path = write_estimator("pose", params, SIZE, "squares", tmp_path)
    estimator = load_estimator("pose", SIZE, "squares", tmp_path)
    assert estimator.name == f"squares_{SIZE}_pose" and len(estimator.sha256) == 64
    images, points = squares(70, 1)  # more than a batch
    found = estimator(images)
    assert found.shape == (70, 18, 3) and found.dtype == np.float32
    assert pck(found, points) > 0.9 > 0.4 > pck(np.roll(found, 1, axis=0), points)
    assert found[:, 2:, 2].max() < 0.1 < 0.8 < np.median(found[:, :2, 2])
    seen = unit_range(images[:3])
    direct = jax.jit(lambda params: read_points(DenseEstimator(18).apply(params, seen)))(params)
    np.testing.assert_allclose(found[:3], direct, atol=0.02)  # half precision in the file

    with pytest.raises(ValueError, match=r"reads uint8 pictures of \(12, 12, 3\), .* --image_size=32 --out=DIR"):
        estimator(np.zeros((1, 32, 32, 3), np.uint8))
    damaged = tmp_path / "damaged" / path.name
    damaged.parent.mkdir()
    damaged.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load_estimator("pose", SIZE, "squares", damaged.parent)
    damaged.with_name(f"depth_{SIZE}.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="holds other tensors"):
        load_estimator("depth", SIZE, "squares", damaged.parent)


def test_what_there_is_no_estimator_for_is_said():
    with pytest.raises(ValueError, match=r"pose for pictures of 'figures' at 40 px .* --image_size=40 --out=DIR"):
        load_estimator("pose", 40)
    with pytest.raises(ValueError, match="No estimator for 'lines': there are pose, depth"):
        load_estimator("lines", 32)


@pytest.fixture(scope="module")
def figures():
    """The first 64 test figures: what `load_figures` gives, without building the data set."""
    scenes = [render(sample_scene("test", index), 32) for index in range(64)]
    return {name: np.stack([getattr(scene, name) for scene in scenes]) for name in ("image", "keypoints", "depth")}


@pytest.mark.parametrize("task", ["pose", "depth"])
def test_the_shipped_networks_read_figures_and_tell_right_from_other(figures, task):
    images = figures["image"]
    noisy = images + np.random.default_rng(0).normal(0, 8, images.shape)
    noisy = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    real, rough, other = (
        fidelity(task, pictures, images, {}, figures) for pictures in (images, noisy, np.roll(images, 1, axis=0))
    )
    # The numbers of scores_32.json, with room for the smaller sample.
    if task == "pose":
        assert real["pck"] > 0.99 and real["pck_0.1"] > 0.97 and real["pck_0.05"] > 0.92
        assert abs(rough["pck_0.1"] - real["pck_0.1"]) < 0.02
        assert other["pck_0.1"] < 0.4 and other["pck_0.05"] < 0.15
        assert fidelity(task, np.full_like(images, 128), images, {}, figures)["pck"] < 0.05
    else:
        assert real["depth_rmse"] < 0.125 and real["aligned_depth_rmse"] < 0.1
        assert abs(rough["depth_rmse"] - real["depth_rmse"]) < 0.01
        assert other["depth_rmse"] > 0.22 and other["aligned_depth_rmse"] > 0.19


@pytest.mark.slow
def test_the_command_writes_networks_that_load_and_their_scores(tmp_path, command_env):
    command = [
        sys.executable,
        "-m",
        "lisa_jax",
        "fit_estimators",
        f"--out={tmp_path}",
        "--image_size=16",
        "--num_steps=2",
    ]
    done = subprocess.run(command, env=command_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores_16.json").read_text())
    for task in ("pose", "depth"):
        assert scores[task]["sha256"] == load_estimator(task, 16, "figures", tmp_path).sha256
        assert set(scores[task]["real"]) == set(scores[task]["other"]) == set(measures(task))
