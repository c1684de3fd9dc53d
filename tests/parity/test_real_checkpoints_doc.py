"""docs/real_checkpoints.md, executed: every block in order, beside a tiny base."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from doc_page import DOCS, run_page
from PIL import Image
from smallest_sd import SIZE, disk, write_smallest_base, write_table

ROOT = Path(__file__).parents[2]
PAGE = DOCS / "real_checkpoints.md"
# The smoke size of the recipe, for a base with fewer hooks. Previews, samples and prompts share one compiled program;
# the second network is a plain one, whose step is half as much to compile.
CONFIG = """
from lisa_jax.configs import sd21_lisa

def get_config(argument):
    config = sd21_lisa.get_config(argument + ",smoke")
    config.compute_dtype = "float32"
    config.lisa.hook = "down_1"
    config.lisa.lam = 0.0 if argument == "seg" else 0.2
    config.accumulate = config.sampling.batch_size = 1
    return config
"""


@pytest.fixture
def values(tmp_path):
    """What the page's settings are replaced by."""
    write_smallest_base("tiny_sd21", tmp_path / "base")
    write_table(tmp_path / "table.parquet")
    (tmp_path / "config.py").write_text(CONFIG)
    for name, picture in zip(("pose", "seg"), disk(100), strict=True):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return {
        "BASE": "base",
        "TABLE": "table.parquet",
        "DATA": "data",
        "SIZE": str(SIZE),
        "HELD_OUT": "0.3",
        "POSE": "config.py:pose",
        "SEG": "config.py:seg",
        "STEPS": "2",
        "MORE_STEPS": "3",
        "RUNS": "runs",
        "POSE_PICTURE": "pose.png",
        "SEG_PICTURE": "seg.png",
        "PROMPT": "red dog",
        "LICENSE": "mit",
    }


@pytest.mark.slow
def test_every_block_of_the_page_works(values, tmp_path, command_env):
    done = run_page(PAGE.name, values, ("BASE", "POSE_PICTURE"), tmp_path, command_env)
    assert "predicts epsilon" in done.stdout and "(64, 64, 4)" in done.stdout
    assert "resumed after step 2 of 3" in done.stderr
    assert "differs from us by" in done.stderr

    runs = tmp_path / "runs"
    metrics = [json.loads(line) for line in (runs / "pose" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics if "loss" in line] == [1, 2, 3]
    for folder, count in ((runs / "pose" / "samples", None), (runs / "pose" / "prompted", 1), (runs / "composed", 1)):
        pictures = [np.asarray(Image.open(path)) for path in folder.glob("0*.png")]
        assert len(pictures) == (count or len(pictures)) > 0
        assert all(picture.shape == (SIZE, SIZE, 3) and picture.std() > 1 for picture in pictures)
        assert (folder / "grid.png").is_file()
    assert "license: mit" in (runs / "exported" / "pose" / "README.md").read_text()
    assert Image.open(runs / "dancer.png").size == (SIZE, SIZE)


def test_files_that_the_page_names_exist():
    named = re.findall(r"configs/\w+\.py", PAGE.read_text())
    assert named and all((ROOT / name).is_file() for name in named)
