"""`sample` as a user runs it: stopped and continued, for prompts, with several side networks, from folders."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from lisa_jax.experiments.saved_run import load_run

ROOT = Path(__file__).parents[2]
QUICK = {"num_steps": 2, "guidance_scale": 1.5, "without_control": False}


@pytest.fixture(scope="module")
def sample(command_env):
    def call(*argv, **flags):
        command = [sys.executable, "-m", "lisa_jax", "sample", *argv]
        command += [f"--{name}={value}" for name, value in (QUICK | flags).items()]
        return subprocess.run(command, env=command_env, capture_output=True, text=True, cwd=ROOT)

    return call


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two condition pictures, larger than the run's."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, seed in (("a", 0), ("b", 1)):
        pixels = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def read(path):
    return np.asarray(Image.open(path)).astype(int)


def numbered(folder):
    return sorted(path.name for path in folder.glob("0*.png"))


@pytest.fixture(scope="module")
def of_the_split(sample, trained_run, tmp_path_factory):
    """A folder of three samples of the test split."""
    out = tmp_path_factory.mktemp("split")
    done = sample(workdir=trained_run, out=out, num=3, without_control=True)
    assert done.returncode == 0, done.stderr
    return out


def test_images_are_written_with_and_without_control(of_the_split):
    folders = (of_the_split, of_the_split / "without_control")
    with_control, without = ([read(folder / name) for name in numbered(folder)] for folder in folders)
    assert len(with_control) == len(without) == 3 and all(image.shape == (16, 16, 3) for image in with_control)
    assert not np.array_equal(with_control[0], with_control[1])
    assert not all(map(np.array_equal, with_control, without))


def test_a_stopped_run_is_continued_with_the_same_settings_only(sample, trained_run, of_the_split, tmp_path):
    out = tmp_path / "continued"
    shutil.copytree(of_the_split, out)
    (out / "00001.png").unlink()
    kept = (out / "00002.png").stat().st_ino
    done = sample(workdir=trained_run, out=out, num=5, batch_size=2, without_control=True)
    assert done.returncode == 0, done.stderr
    assert "2 of them were there before" in done.stderr
    assert numbered(out) == numbered(out / "without_control") == [f"0000{index}.png" for index in range(5)]
    assert (out / "00002.png").stat().st_ino == kept
    assert np.abs(read(out / "00001.png") - read(of_the_split / "00001.png")).max() <= 1
    # Four blocks of two rows: condition, with control, without control and reference, with a caption below.
    grid = read(out / "grid.png")
    assert grid.shape == (25 + 2 * (128 + 21 + 4) + 4, 4 * (4 * 132 + 8) - 4, 3) and grid.std() > 10

    refused = sample(workdir=trained_run, out=out, num=5, seed=1)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "settings.json: seed was 0 and is 1 now" in refused.stderr


def test_the_checkpoint_that_validated_best_is_drawn_where_asked_for(sample, run_with_best, of_the_split, tmp_path):
    done = sample(workdir=run_with_best, out=tmp_path, num=3, weights="best")
    assert done.returncode == 0, done.stderr
    for name in numbered(of_the_split):
        assert np.abs(read(tmp_path / name) - read(of_the_split / name)).max() <= 1


def test_a_listing_of_prompts_and_pictures(sample, trained_run, pictures, tmp_path):
    rows = [{"prompt": word, "condition": f"{name}.png"} for word, name in (("cat", "a"), ("dog", "b"))]
    (pictures / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    flags = {"sampler": "dpmpp_2m", "negative_prompt": "sun", "control_end": 0.5, "guess_mode": True}
    done = sample(workdir=trained_run, listing=pictures / "rows.jsonl", out=tmp_path, **flags)
    assert done.returncode == 0, done.stderr
    assert numbered(tmp_path) == ["00000.png", "00001.png"]
    images = [read(tmp_path / name) for name in numbered(tmp_path)]
    # Of the conditions' shape, with as many pixels as in training.
    assert images[0].shape == (12, 20, 3) and np.abs(images[0] - images[1]).mean() > 1
    assert json.loads((tmp_path / "settings.json").read_text())["sampling"]["negative_prompt"] == "sun"


@pytest.mark.slow
def test_side_networks_trained_apart_as_runs_and_as_folders(
    sample, train_command, trained_run, of_the_split, pictures, command_env, tmp_path
):
    other = tmp_path / "lowres_run"
    argv = train_command(other, num_steps=2, eval_every=100, preview_every=100, **{"data.condition": "lowres"})
    trained = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
    assert trained.returncode == 0, trained.stderr
    both = f"{trained_run},{other}"
    one = sample(workdir=both, out=tmp_path / "one", num=3, control_scale="lowres=0,lineart=1")
    assert one.returncode == 0, one.stderr
    for name in numbered(of_the_split):
        assert np.abs(read(tmp_path / "one" / name) - read(of_the_split / name)).max() <= 1

    folders = [tmp_path / "lineart", tmp_path / "lowres"]
    for folder, workdir in zip(folders, (trained_run, other), strict=True):
        run = load_run(workdir)
        ((name, side),) = run.side.items()
        run.family.write_side(folder, name, jax.tree.map(lambda leaf: leaf + 0.05, side))
    prompt = ["--prompt=cat", f"--condition={pictures}/a.png,{pictures}/b.png"]
    flags = {"base": run.config.base, "controlnet": ",".join(map(str, folders)), "dtype": "float32", "image_size": 16}
    images = []
    for scale in ("1.0,0.5", "0.5,1.0"):
        done = sample(*prompt, out=tmp_path / scale, control_scale=scale, **flags)
        assert done.returncode == 0, done.stderr
        images.append(read(tmp_path / scale / "00000.png"))
    assert images[0].shape == (16, 16, 3) and np.abs(images[0] - images[1]).mean() > 1


def test_a_negative_prompt_of_a_listing_is_not_ignored_without_guidance(sample, trained_run, pictures, tmp_path):
    row = {"prompt": "cat", "condition": str(pictures / "a.png"), "negative_prompt": "dog"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    done = sample(workdir=trained_run, out=tmp_path / "out", listing=tmp_path / "rows.jsonl", guidance_scale=1)
    assert done.returncode == 1 and "rows.jsonl line 1: negative_prompt does nothing at guidance_scale 1" in done.stderr


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({}, "Give either --workdir, or --base and --controlnet."),
        ({"workdir": "nowhere"}, "nowhere/config.json is missing"),
    ],
)
def test_refusals_are_one_sentence(sample, tmp_path, flags, sentence):
    done = sample(out=tmp_path, **flags)
    assert done.returncode == 1
    assert sentence in done.stderr and "Traceback" not in done.stderr
