"""What README and docs tell users of the hub and of single files, at a small size, against a hub on loopback."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doc_page import settings
from original_sd import write_original
from PIL import Image
from safetensors.numpy import load_file
from smallest_sd import SIZE, disk, write_smallest_base, write_table
from toys.hub_server import HubServer

from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.families.presets import write_random_base

ROOT = Path(__file__).parents[2]


def blocks_of(page, heading, language="bash"):
    """The blocks of a page's section."""
    text = (ROOT / page).read_text()
    section = re.split(r"^##? ", text[text.index(heading) + len(heading) :], maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


def block_of(page, heading, language="bash"):
    """The first block of a page's section."""
    return blocks_of(page, heading, language)[0]


@pytest.fixture
def run(command_env, tmp_path):
    """(script, hub) -> what it printed; it must succeed in an empty folder, with the client as it is."""

    def script_of(script, hub):
        clean = {name: value for name, value in command_env.items() if not name.startswith(("HF_", "HUGGING"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{command_env['PATH']}"
        of_hub = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        env = clean | of_hub | {"PATH": path, "NO_PROXY": "127.0.0.1,localhost", "OMP_NUM_THREADS": "1"}
        folder = tmp_path / "empty"
        folder.mkdir(exist_ok=True)
        argv = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return script_of


def write_circles(folder, rows):
    """The columns of fill50k, as the hub serves them: pictures of a side of 128."""
    folder.mkdir()
    cells = []
    for index in range(rows):
        files = [io.BytesIO(), io.BytesIO()]
        for picture, file in zip(disk(index), files, strict=True):
            Image.fromarray(picture).resize((128, 128)).save(file, "png")
        image, condition = ({"bytes": file.getvalue(), "path": None} for file in files)
        cells.append({"image": image, "conditioning_image": condition, "text": f"circle {index}"})
    pq.write_table(pa.Table.from_pylist(cells), folder / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.slow
def test_the_rehearsal_of_an_own_condition_is_as_the_page_says(run, tmp_path):
    page = (ROOT / "docs/own_condition.md").read_text()
    rehearsed = re.search(r"--preset=(\S+) --out=\S+` as `BASE`,\n`([^`]+)` for `prepare`, and `([^`]+)`", page)
    preset, flags, config = rehearsed.groups()
    script = block_of("docs/own_condition.md", "# A condition")
    documented = re.search(r"--config=\S+", script)[0]
    assert config.startswith(documented)
    script = re.sub(r"^(.* prepare .*)$", rf"\1 {flags}", script, flags=re.MULTILINE).replace(documented, config)
    base = "an-owner/tiny"
    script = re.sub(r"=BASE\b", f"={base}", script)
    datasets = {"fusing/fill50k": {"main": write_circles(tmp_path / "circles", 120)}}
    write_random_base(preset, tmp_path / "base")
    with HubServer({base: tmp_path / "base"}, datasets=datasets) as hub:
        done = run(script, hub)
    folder = tmp_path / "empty"
    assert sum(len(load_prepared(folder / "data/fill50k", split)) for split in ("train", "test")) == 100
    assert "compiling the network effnet_lite0 ..." in done.stderr
    measured = json.loads((folder / "runs/fill50k/evaluation.json").read_text())
    for name in ("control", "no control"):
        assert np.isfinite(measured["quality"][name]["kid_effnet_lite0"])
    card = (folder / "controlnet_fill50k/README.md").read_text()
    assert re.search(rf"^base_model: {base}$", card, re.MULTILINE)


def with_flags(found, flags):
    """A command of the README with more flags and without its remark."""
    return " ".join(filter(None, ("lisa_jax", found[1], found[2], flags.get(found[1]))))


# Goes on where the README's Python ends.
USE = f"""
from PIL import Image
pose = Image.open("pose.png").resize(({SIZE}, {SIZE}))
print(pipeline("a dancer", pose, num_inference_steps=2).images[0].size)
"""


@pytest.mark.slow
def test_a_controlnet_on_a_base_of_the_hub_is_made_and_used_as_the_readme_says(run, tmp_path):
    script = block_of("README.md", "## A ControlNet in")
    base = re.search(r"^BASE=(\S+)$", script, re.MULTILINE)[1]
    # A page, which runs until it is stopped; tests/demo drives it.
    commands = [line for line in script.splitlines() if not line.startswith("lisa_jax demo ")]
    assert len(commands) == 5
    small = {
        "prepare": f"--image_size={SIZE} --test_fraction=0.3",
        "train": "--config.lisa.hook=down_1 --config.compute_dtype=float32 --config.sampling.batch_size=1",
    }
    commands = [
        re.sub(r"^lisa_jax (\w+) +(.*?)( +#.*)?$", lambda found: with_flags(found, small), line) for line in commands
    ]
    script = "\n".join(commands).replace("sd15_lisa:pose", "sd15_lisa:pose,smoke")
    (tmp_path / "empty").mkdir()
    write_table(tmp_path / "table.parquet")
    table = pq.read_table(tmp_path / "table.parquet").rename_columns({"pose_image": "conditioning_image"})
    pq.write_table(table, tmp_path / "empty" / "train.parquet")
    Image.fromarray(disk(100)[1]).save(tmp_path / "empty" / "pose.png")
    write_smallest_base("tiny_sd15", tmp_path / "base")
    use = block_of("README.md", "## A ControlNet in", "python") + USE
    with HubServer({base: tmp_path / "base"}) as hub:
        done = run(script, hub)
        assert "differs from us by" in done.stderr
        used = run(f"python - <<'END_OF_BLOCK'\n{use}\nEND_OF_BLOCK", hub)
    assert used.stdout.splitlines()[-1] == f"({SIZE}, {SIZE})"
    (sample,) = (tmp_path / "empty" / "runs/pose/mine").glob("0*.png")
    assert np.asarray(Image.open(sample)).std() > 1


PAGE = "docs/real_checkpoints.md"
BASE, POSE, PUSHED, VAE = (f"an-owner/{name}" for name in ("tiny", "pose", "pushed", "vae"))
# What a file of Stable Diffusion 1 does not tell, and what it is read with.
AS_FILES_ARE_READ = {"block_out_channels": (32,), "norm_num_groups": 32, "attention_head_dim": 8}
CONFIG = """
from lisa_jax.configs import sd15_lisa

def get_config(argument):
    config = sd15_lisa.get_config(argument + ",smoke")
    config.compute_dtype = "float32"
    config.lisa.hook = "down_1"
    config.accumulate = config.sampling.batch_size = config.num_steps = 1
    return config
"""


def write_models(base, single):
    """A smallest Stable Diffusion 1.5, and the same as one file, with what it lacks in the folder beside it."""
    write_smallest_base("tiny_sd15", base, **AS_FILES_ARE_READ)
    beside = single.with_suffix("")
    beside.mkdir(parents=True)
    write_original(base, single, "sd15", layers=1)
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(base / part, beside / part)
    # Heads of tiny text encoders are not told by their shapes.
    for part in ("vae", "text_encoder"):
        (beside / part).mkdir()
        shutil.copy(base / part / "config.json", beside / part)


@pytest.mark.slow
def test_names_of_the_hub_other_vaes_and_single_files_do_as_the_page_says(run, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    write_models(tmp_path / "base", folder / "models/dreamshaper.safetensors")
    # The same weights: that it is another VAE is told by its values, and here it is its place that counts.
    shutil.copytree(tmp_path / "base/vae", tmp_path / "vae")
    write_table(folder / "table.parquet")
    (folder / "config.py").write_text(CONFIG)
    Image.fromarray(disk(100)[1]).save(folder / "pose.png")
    values = settings(block_of(PAGE, "# From a downloaded")) | {
        "BASE": BASE,
        "TABLE": "table.parquet",
        "DATA": "data",
        "SIZE": str(SIZE),
        "HELD_OUT": "0.3",
        "POSE": "config.py:pose",
        "STEPS": "1",
        "RUNS": "runs",
        "POSE_PICTURE": "pose.png",
        "PROMPT": "red dog",
        "LICENSE": "mit",
    }
    lines = [f'{name}="{value}"' for name, value in values.items()]

    def section(heading, **changes):
        """Its blocks, with names that are there; samples have the trained size, which a file does not tell."""
        text = "".join(blocks_of(PAGE, heading, "text"))
        assert text
        changes |= {
            "OWNER/CONTROLNET@v1.0": f"{POSE}@v1",
            "OWNER/VAE": VAE,
            "--out=DIR": "--out=out",
            "PICTURE": "pose.png",
        }
        for name, value in changes.items():
            text = text.replace(f"${name}" if name in values else name, value)
        text = re.sub(r"(lisa_jax sample .*)", rf"\1 --image_size={SIZE} --num_steps=2", text)
        return text.replace("--push_to=OWNER/NAME", f"--push_to={PUSHED}").replace("OWNER/NAME", BASE)

    with HubServer({BASE: tmp_path / "base", POSE: tmp_path / "pose", VAE: tmp_path / "vae"}) as hub:
        made = [block_of(PAGE, heading) for heading in ("## 2. ", "## 3. ", "## 8. ")]
        run("\n".join(lines + made), hub)
        shutil.copytree(folder / "runs/exported/pose", tmp_path / "pose")
        named = [section("## Names of the hub"), section("## Another VAE", DATA="data_vae", RUNS="runs_vae")]
        # What the page calls control_canny: the same network, in the layout of web interfaces.
        export = "python -m lisa_jax export --workdir=runs/pose --out=runs/file --format=original --license=mit"
        run("\n".join([export, "cp runs/file/pose.safetensors control_canny.safetensors"]), hub)
        run("\n".join(["export HF_TOKEN=token", *lines, *named]), hub)
    assert {"config.json", "README.md", "diffusion_pytorch_model.safetensors"} <= hub.pushed[PUSHED].keys()
    assert hub.made[PUSHED]["visibility"] == "private"
    assert VAE in json.loads((folder / "runs_vae/pose/config.json").read_text())["vae"]
    # Weights in another file are another base to what was prepared.
    of_file = ["BASE=models/dreamshaper.safetensors", "DATA=data_file", block_of(PAGE, "## 2. ")]
    done = run("\n".join([*lines, *of_file, section("## Single files", RUNS="runs_file", DIR="drawn")]), hub)
    assert "differs from us by" in done.stderr
    assert len(list((folder / "drawn").glob("0*.png"))) == 1
    assert any(
        key.startswith("control_model.") for key in load_file(folder / "runs_file/for_web/pose/pose.safetensors")
    )
