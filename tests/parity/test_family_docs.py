"""The pages of docs on one family each, executed: every block in order, beside a base of the smallest size."""

import json
import re

import numpy as np
import pytest
from doc_page import DOCS, run_page, run_script
from PIL import Image
from safetensors.numpy import load_file
from smallest_sd import SIZE, disk, write_smallest_base, write_table
from toys.members import write_stable_video_diffusion

from lisa_jax.families.presets import write_random_base

# The smoke size of a recipe.
CONFIG = """
from lisa_jax.configs import {recipe}

def get_config(argument):
    config = {recipe}.get_config(argument + ",smoke")
    config.compute_dtype = "float32"
    config.update(caption_dropout={caption_dropout})
    config.lisa.hook = "{hook}"
    return config
"""
# Page -> how its base is written, its config, a field of the exported config.json, and what page and card say.
PAGES = {
    "stable_diffusion_3.md": (
        lambda folder: write_random_base("tiny_sd3_medium", folder),
        {"recipe": "sd3_lisa", "hook": "block_1", "caption_dropout": 0.0},
        ("force_zeros_for_pooled_projection", False),
        ("shift of its noise levels: 3.0", "SD3ControlNetModel"),
    ),
    "stable_diffusion_xl.md": (
        lambda folder: write_smallest_base("tiny_sdxl", folder),
        {"recipe": "sdxl_lisa", "hook": "down_1", "caption_dropout": 0.5},
        ("addition_embed_type", "text_time"),
        ("", "StableDiffusionXLControlNetPipeline"),
    ),
}
# What the settings of a page are replaced by.
VALUES = {
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
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_works(page, tmp_path, command_env):
    write_base, config, (field, value), (printed, carded) = PAGES[page]
    write_base(tmp_path / "base")
    write_table(tmp_path / "table.parquet")
    (tmp_path / "config.py").write_text(CONFIG.format(**config))
    Image.fromarray(disk(100)[1]).save(tmp_path / "pose.png")
    done = run_page(page, VALUES, ("BASE", "POSE_PICTURE", "SIZE"), tmp_path, command_env)
    assert printed in done.stdout and "differs from us by" in done.stderr
    runs = tmp_path / "runs"
    metrics = [json.loads(line) for line in (runs / "pose" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics if "align_loss" in line] == [1, 2, 3]
    (sample,) = (runs / "pose" / "prompted").glob("0*.png")
    assert np.asarray(Image.open(sample)).std() > 1
    exported = runs / "exported" / "pose"
    assert json.loads((exported / "config.json").read_text())[field] == value
    assert carded in (exported / "README.md").read_text()
    assert Image.open(runs / "dancer.png").size == (SIZE, SIZE)


@pytest.mark.slow
def test_every_block_of_the_page_of_control_loras_works(tmp_path, command_env):
    """With the data that the page of the base prepares."""
    write_smallest_base("tiny_sdxl", tmp_path / "base")
    write_table(tmp_path / "table.parquet")
    _, config, _, _ = PAGES["stable_diffusion_xl.md"]
    (tmp_path / "config.py").write_text(CONFIG.format(**config))
    blocks = re.findall(r"^```bash\n(.*?)^```$", (DOCS / "control_lora.md").read_text(), re.DOTALL | re.MULTILINE)
    prepare = re.search(
        r"^python -m lisa_jax prepare .*?[^\\]$", (DOCS / "stable_diffusion_xl.md").read_text(), re.M | re.S
    )
    settings = [f'{name}="{value}"' for name, value in VALUES.items()]
    script = "\n".join(["set -euo pipefail", *settings, prepare[0], *blocks]).replace(
        "configs/sdxl_lisa.py", "config.py"
    )
    done = run_script(script, tmp_path, command_env)
    assert done.stderr.count("differs from us by") == 2
    lora = load_file(tmp_path / "runs/for_web/pose.safetensors")
    assert {"lora_controlnet", "input_blocks.1.0.in_layers.2.up"} <= lora.keys()
    whole = tmp_path / "runs/pose_lora/controlnet"
    assert json.loads((whole / "config.json").read_text())["_class_name"] == "ControlNetModel"


CLIP, SIDE = 3, 16
# Its latents are as large as its frames.
VIDEO_CONFIG = f"""
from lisa_jax.configs import svd_lisa

def get_config(argument):
    config = svd_lisa.get_config(argument + ",smoke")
    config.compute_dtype = "float32"
    config.condition_channels = (4,)
    config.data.image_size = ({CLIP}, {SIDE}, {SIDE})
    config.lisa.hook = "down_1"
    config.accumulate = 1
    return config
"""
VIDEO_VALUES = {
    "BASE": "base",
    "CLIPS": "clips",
    "DATA": "data",
    "SIZE": str(SIDE),
    "FRAMES": str(CLIP),
    "HELD_OUT": "0.3",
    "DEPTH": "config.py:depth",
    "STEPS": "2",
    "RUNS": "runs",
    "DEPTH_VIDEO": "clips/depth/00",
    "FIRST_FRAME": "clips/video/00/0.png",
    "LICENSE": "mit",
}


@pytest.mark.slow
def test_every_block_of_the_page_on_videos_works(tmp_path, command_env):
    write_stable_video_diffusion(tmp_path / "base")
    for clip in range(6):
        for frame in range(CLIP):
            for column, picture in zip(("video", "depth"), disk(10 * clip + frame), strict=True):
                folder = tmp_path / "clips" / column / f"{clip:02}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(folder / f"{frame}.png")
    (tmp_path / "config.py").write_text(VIDEO_CONFIG)
    in_python = ("BASE", "DEPTH_VIDEO", "FIRST_FRAME", "SIZE", "FRAMES")
    done = run_page("stable_video_diffusion.md", VIDEO_VALUES, in_python, tmp_path, command_env)
    assert "differs from us by" in done.stderr
    runs = tmp_path / "runs"
    metrics = [json.loads(line) for line in (runs / "depth" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics if "align_loss" in line] == [1, 2]
    assert [path.suffix for path in (runs / "depth" / "asked").glob("0*")] == [".mp4"]
    exported = runs / "exported" / "depth"
    assert json.loads((exported / "config.json").read_text())["_class_name"] == "LisaJaxTemporalControlNet"
    assert "StableVideoDiffusionPipeline" in (exported / "README.md").read_text()
    with Image.open(runs / "street.gif") as video:
        assert (video.n_frames, video.size) == (CLIP, (SIDE, SIDE))
