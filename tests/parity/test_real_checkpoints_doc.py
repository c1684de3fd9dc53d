"""docs/real_checkpoints.md, executed: every block in order, beside a tiny base."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from smallest_sd import SIZE, disk, write_smallest_base, write_table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "real_checkpoints.md"
# The smoke size of the recipe, for a base with fewer hooks.
CONFIG = """
from lisa_jax.configs import sd21_lisa

def get_config(argument):
    config = sd21_lisa.get_config(argument + ",smoke")
    config.compute_dtype = "float32"
    config.lisa.hook = "down_1"
    return config
"""


def blocks():
    """The page's blocks in order: (language, text)."""
    return re.findall(r"^```(bash|python)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def settings(text):
    """Variables of the page's first block: name -> value."""
    return {name: value.strip('"') for name, value in re.findall(r'^([A-Z_]+)=("[^"]*"|\S+)', text, re.MULTILINE)}


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


def script_of(page, values):
    """One shell script of all blocks, in which the settings have other values."""
    (language, header), *rest = page
    documented = settings(header)
    assert language == "bash" and documented.keys() == values.keys(), "the page has other settings than this test"
    lines = ["set -euo pipefail", *(f'{name}="{value}"' for name, value in values.items())]
    for language, text in rest:
        if language == "bash":
            lines.append(text)
            continue
        for name in ("BASE", "POSE_PICTURE"):
            text = text.replace(documented[name], values[name])
        lines += ["python - <<'END_OF_BLOCK'", text + "END_OF_BLOCK"]
    return "\n".join(lines)


def test_every_block_of_the_page_works(values, tmp_path, command_env):
    env = command_env | {"PATH": f"{Path(sys.executable).parent}:{command_env['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", script_of(blocks(), values)], env=env, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
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
