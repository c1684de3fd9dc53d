"""docs/stable_diffusion_3.md, executed: every block in order, beside a tiny base."""

import json

import numpy as np
import pytest
from doc_page import run_page
from PIL import Image
from smallest_sd import SIZE, disk, write_table

from lisa_jax.families.presets import write_random_base

# The smoke size of the recipe.
CONFIG = """
from lisa_jax.configs import sd3_lisa

def get_config(argument):
    config = sd3_lisa.get_config(argument + ",smoke")
    config.compute_dtype = "float32"
    return config
"""


@pytest.fixture
def values(tmp_path):
    """What the page's settings are replaced by."""
    write_random_base("tiny_sd3_medium", tmp_path / "base")
    write_table(tmp_path / "table.parquet")
    (tmp_path / "config.py").write_text(CONFIG)
    Image.fromarray(disk(100)[1]).save(tmp_path / "pose.png")
    return {
        "BASE": "base",
        "TABLE": "table.parquet",
        "DATA": "data",
        "SIZE": str(SIZE),
        "HELD_OUT": "0.3",
        "POSE": "config.py:pose",
        "STEPS": "3",
        "RUNS": "runs",
        "POSE_PICTURE": "pose.png",
        "PROMPT": "red dog",
        "LICENSE": "mit",
    }


@pytest.mark.slow
def test_every_block_of_the_page_works(values, tmp_path, command_env):
    done = run_page("stable_diffusion_3.md", values, ("BASE", "POSE_PICTURE", "SIZE"), tmp_path, command_env)
    assert "shift of its noise levels: 3.0" in done.stdout and "(8, 8, 16)" in done.stdout
    assert "differs from us by" in done.stderr
    runs = tmp_path / "runs"
    metrics = [json.loads(line) for line in (runs / "pose" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics if "align_loss" in line] == [1, 2, 3]
    (sample,) = (runs / "pose" / "prompted").glob("0*.png")
    assert np.asarray(Image.open(sample)).std() > 1
    exported = runs / "exported" / "pose"
    assert json.loads((exported / "config.json").read_text())["force_zeros_for_pooled_projection"] is False
    assert "SD3ControlNetModel" in (exported / "README.md").read_text()
    assert Image.open(runs / "dancer.png").size == (SIZE, SIZE)
