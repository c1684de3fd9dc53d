"""`evaluate` of pictures that are there, against a table of the hub."""

import io
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from toys.hub_server import HubServer, commit_of

NAME = "an-owner/pictures"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A data set of the hub whose splits have different pictures, the test split's also as samples."""
    folder = tmp_path_factory.mktemp("served")
    for seed, split in enumerate(("train", "test")):
        pictures = np.random.default_rng(seed).integers(0, 256, (2, 32, 32, 3), np.uint8)
        files = [io.BytesIO() for _ in pictures]
        for index, (picture, file) in enumerate(zip(pictures, files, strict=True)):
            Image.fromarray(picture).save(file, "png")
            if split == "test":
                (folder / "samples").mkdir(exist_ok=True)
                Image.fromarray(picture).save(folder / "samples" / f"{index:05d}.png")
        table = pa.table({"image": [file.getvalue() for file in files], "caption": ["a", "b"]})
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


def test_a_split_of_a_data_set_of_the_hub_is_measured_against(served, command_env, tmp_path):
    out = tmp_path / "result.json"
    argv = [sys.executable, "-m", "lisa_jax", "evaluate", "--task=lowres", f"--source={NAME}", f"--out={out}"]
    argv += [f"--images={served / 'samples'}", "--split=test"]
    with HubServer({}, datasets={NAME: {"main": served}}) as hub:
        env = command_env | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "measuring: " in done.stderr and "set/s" in done.stderr
    result = json.loads(out.read_text())
    assert result["source"] == f"{NAME}@{commit_of(NAME, 'main')}" and result["split"] == "test"
    assert result["fidelity"]["samples"]["ssim"] == pytest.approx(1)
