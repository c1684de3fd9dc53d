"""`prepare` as a user runs it: from a folder of pictures to a data set, killed on the way, and refused."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from toys.hub_server import HubServer

from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import write_random_base
from lisa_jax.families.registry import load_family

ROOT = Path(__file__).parents[2]
SLOW_CONDITION = """
import os, time

def slow(example):
    time.sleep(float(os.environ.get("SECONDS_PER_IMAGE", "0")))
    return 255 - example["image"]
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random Stable Diffusion folder with a VAE, a thousandth of the size."""
    return write_random_base("tiny_sd21", tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """24 pictures of 64 x 64, each with a condition, and a module with a condition of one's own."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "my_conditions.py").write_text(SLOW_CONDITION)
    lines = []
    for index in range(24):
        rng = np.random.default_rng(index)
        for name in ("image", "pose"):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"{name}{index}.png")
        lines.append({"file_name": f"image{index}.png", "pose_file_name": f"pose{index}.png", "caption": f"a {index}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def command(command_env, pictures, base):
    def argv_and_env(out, *flags, **env):
        argv = [sys.executable, "-m", "lisa_jax", "prepare", f"--source={pictures}", f"--out={out}", f"--base={base}"]
        argv += ["--image_size=64", "--chunk_rows=4", "--batch_size=4", "--test_fraction=0.2", "--workers=1"]
        paths = f"{command_env['PYTHONPATH']}{os.pathsep}{pictures}"
        return [*argv, *flags], command_env | {"PYTHONPATH": paths} | env

    return argv_and_env


@pytest.fixture(scope="module")
def run(command):
    def call(out, *flags):
        argv, env = command(out, *flags)
        return subprocess.run(argv, env=env, capture_output=True, text=True, cwd=ROOT)

    return call


CONDITIONS = ("--condition_column=pose=pose", "--condition=negative=my_conditions:slow")


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "set"
    done = run(folder, *CONDITIONS)
    assert done.returncode == 0, done.stderr
    assert "24 rows in" in done.stderr and "images/s" in done.stderr
    return folder


def test_what_is_cached_is_what_the_base_computes(undisturbed, base, pictures):
    family = load_family(base, Setup(compute_dtype="float32"))
    source = load_prepared(undisturbed)
    source.check_base(family.fingerprint)
    assert source.channels == {"pose": 3, "negative": 3}
    for example in list(source)[:4]:
        inputs, number = example["inputs"], example["caption"].removeprefix("a ")
        image = 255 - inputs["condition"]["negative"]
        np.testing.assert_array_equal(image, np.asarray(Image.open(pictures / f"image{number}.png")))
        np.testing.assert_array_equal(
            inputs["condition"]["pose"], np.asarray(Image.open(pictures / f"pose{number}.png"))
        )
        moments = np.asarray(family.latents.moments(family.latents.params, image[None]))[0]
        assert inputs["moments"].shape == moments.shape == (8, 8, 8)
        # bfloat16 keeps 8 bits.
        np.testing.assert_allclose(inputs["moments"].astype(np.float32), moments, rtol=2**-8, atol=1e-4)
        context = family.conditioner.contexts([example])[0]
        np.testing.assert_allclose(inputs["context"].astype(np.float32), context, rtol=2**-8, atol=1e-4)
        assert inputs["context"].dtype == ml_dtypes.bfloat16
    np.testing.assert_allclose(source.empty_context, family.conditioner.empty, atol=1e-5)


def test_pictures_are_cut_to_height_and_width_and_rounded_conditions_stretched(pictures, run, tmp_path):
    source = tmp_path / "rounded"
    source.mkdir()
    Image.new("RGB", (640, 480)).save(source / "a.jpg")
    Image.new("RGB", (576, 512), "red").save(source / "c.png")
    (source / "metadata.jsonl").write_text('{"file_name": "a.jpg", "c": "c.png", "caption": "x"}')
    flags = [f"--source={source}", "--condition_column=c", "--image_size=32x64", "--cache=none", "--test_fraction=0"]
    assert "another aspect ratio" in run(tmp_path / "set", *flags).stderr
    done = run(tmp_path / "set", *flags, "--stretch=c", "--channels=c=1")
    assert done.returncode == 0, done.stderr
    (example,) = load_prepared(tmp_path / "set")
    assert example["inputs"]["image"].shape == (32, 64, 3)
    assert example["inputs"]["condition"]["c"].shape == (32, 64, 1)
    assert (example["inputs"]["condition"]["c"] == 76).all(), "the grey of red"


def test_the_first_rows_are_taken_and_empty_captions_kept_where_asked_for(pictures, run, tmp_path):
    source = tmp_path / "rows"
    source.mkdir()
    rows = [{"file_name": f"{name}.png", "caption": text} for name, text in (("a", "x"), ("b", ""), ("c", "z"))]
    (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in "ab":
        shutil.copy(pictures / "image0.png", source / f"{name}.png")
    (source / "c.png").write_text("no picture")
    flags = [f"--source={source}", "--condition=canny", "--cache=none", "--test_fraction=0"]
    done = run(tmp_path / "set", *flags, "--max_rows=2", "--empty_captions=keep")
    assert done.returncode == 0, done.stderr
    assert sorted(example["caption"] for example in load_prepared(tmp_path / "set")) == ["", "x"]


def test_killed_and_continued_it_is_the_same_to_the_bit(command, run, undisturbed, tmp_path):
    out = tmp_path / "set"
    argv, env = command(out, *CONDITIONS, SECONDS_PER_IMAGE="0.3")
    process = subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (tmp_path / "set.partial" / "chunk-000001").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = run(out, *CONDITIONS)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in undisturbed.iterdir()
    }


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--condition=canny", "--base="), "--base=: must be a text that is not empty."),
        (("--stretch=depth", "--condition_column=pose"), "--stretch=depth: there is no --condition_column of that"),
        (("--condition=canny", "--fps=7"), "--fps=7.0 is of clips: say how many --frames one has."),
        (("--condition=canny", "--image_size=64x128", "--buckets"), "--image_size=64x128 is one size, but --buckets"),
        (("--condition=canny", "--image_size=128"), "row 0: the image is 64x64, too small for 128x128: --min_size=64"),
    ],
)
def test_refused_in_one_sentence(run, tmp_path, flags, sentence):
    done = run(tmp_path / "set", *flags)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and sentence in last, done.stderr


def test_a_table_of_the_hub_that_is_gated_or_breaks_off_is_told_and_then_goes_on_where_it_was(command, tmp_path):
    # Noise, which PNG cannot shorten: the client writes 10 MB at once.
    picture = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    cells = {}
    for name, pixels in (("image", picture), ("conditioning_image", picture[:64, :64])):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        cells[name] = {"bytes": file.getvalue(), "path": None}
    (tmp_path / "served").mkdir()
    pq.write_table(pa.Table.from_pylist([cells | {"text": "noise"}]), tmp_path / "served" / "train.parquet")
    # The client waits for seconds before it tries again.
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep = lambda seconds: None\n")
    name = "an-owner/pictures"

    with HubServer({}, gated=(name,), broken=(name,), datasets={name: {"main": tmp_path / "served"}}) as hub:

        def prepared(**token):
            flags = [f"--source={name}", "--cache=none", "--test_fraction=0"]
            argv, env = command(tmp_path / "set", *flags, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "home"))
            env |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
            env |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}{env['PYTHONPATH']}"} | token
            return subprocess.run(argv, env=env, capture_output=True, text=True, cwd=ROOT)

        token = {"HF_TOKEN": "token"}
        for env, sentence in (
            ({}, f"{name} is gated: accept its terms on its page, then log in by"),
            (token, f"{name} could not be fetched from {hub.url}"),
        ):
            refused = prepared(**env)
            assert refused.returncode == 1 and f"error: {sentence}" in refused.stderr.splitlines()[-1], refused.stderr
            assert not (tmp_path / "set").exists()
        # Tried again, it breaks off once more, and then not.
        hub.broken, hub.breaks = (), {name}
        hub.requests.clear()
        done = prepared(**token)
        assert done.returncode == 0, done.stderr
        asked = [asked for method, path, asked in hub.requests if method == "GET" and path.startswith("/lfs/")]
    assert asked == [None, f"bytes={10 * 2**20}-"]
    (example,) = load_prepared(tmp_path / "set")
    assert example["caption"] == "noise" and example["inputs"]["image"].shape == (64, 64, 3)
