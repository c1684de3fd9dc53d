"""`lisa_jax export`: a folder with weights, card and picture, or one file for web interfaces, and both on a hub."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import ControlNetModel
from original_sd import original_unet
from PIL import Image
from safetensors.torch import load_file
from smallest_sd import write_smallest_base
from toys.hub_server import HubServer
from toys.saved_run import random_params, save_run

from lisa_jax.configs import sd21_lisa
from lisa_jax.experiments.saved_run import load_run

ROOT = Path(__file__).parents[2]
NETWORK = "diffusion_pytorch_model.safetensors"
NAME = "an-owner/a-name"
# As who reads a file without a config takes Stable Diffusion 2 to be: 64 channels a head, 32 groups a norm.
TOLD_BY_SHAPES = {"block_out_channels": (64,), "attention_head_dim": 1, "norm_num_groups": 32}


@pytest.fixture(scope="module")
def export(command_env):
    def call(*flags, hub=None, **named):
        env = {name: value for name, value in command_env.items() if not name.startswith(("HF_", "HUGGING"))}
        if hub is not None:
            env |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": "token", "HF_HOME": str(named["out"].parent / "home")}
            env |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
        argv = [sys.executable, "-m", "lisa_jax", "export", *(f"--{name}={value}" for name, value in named.items())]
        return subprocess.run([*argv, *flags], env=env, capture_output=True, text=True, cwd=ROOT)

    return call


def contents(folder, *names):
    return {name: (folder / name).read_bytes() for name in names}


def test_command_writes_folder_card_and_picture_and_makes_a_repository_of_them(export, trained_run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    plain = out / NETWORK
    plain.write_bytes(b"what is there in float32")
    named = {"workdir": trained_run, "out": out, "dtype": "float16", "license": "mit", "samples": 3, "push_to": NAME}
    with HubServer({}) as hub:
        done = export("--variant", hub=hub, **named)
    assert done.returncode == 0, done.stderr
    assert "rounding to float16 moves a residual by" in done.stderr
    assert json.loads((out / "config.json").read_text())["_class_name"] == "ControlNetModel"
    _, front_matter, text = (out / "README.md").read_text().split("---\n", 2)
    front_matter = yaml.safe_load(front_matter)
    assert front_matter["license"] == "mit" and front_matter["base_model"] == "base"
    assert "| steps | 8 of batch 8 |" in text and "Validation after 8 steps" in text
    assert "works on pixels" in text and 'from_pretrained("path/to/this/folder", variant="fp16")' in text
    assert plain.read_bytes() == b"what is there in float32"
    half = ControlNetModel.from_pretrained(out, variant="fp16", torch_dtype=torch.float16, low_cpu_mem_usage=False)
    written = load_file(out / "diffusion_pytorch_model.fp16.safetensors")
    assert all(torch.equal(value, written[name]) for name, value in half.state_dict().items())
    assert np.asarray(Image.open(out / "samples.png")).std() > 10

    # What was exported now, and for everybody.
    exported = ("README.md", "config.json", "diffusion_pytorch_model.fp16.safetensors", "samples.png")
    assert hub.pushed == {NAME: contents(out, *exported)}
    assert hub.made[NAME].get("visibility") != "private" and not hub.made[NAME].get("private")
    assert f"It is at {hub.url}/{NAME}." in done.stderr


def test_one_file_for_web_interfaces_holds_the_network_and_may_be_pushed_for_its_owner_alone(export, tmp_path):
    write_smallest_base("tiny_sd21", tmp_path / "base", **TOLD_BY_SHAPES)
    config = sd21_lisa.get_config("pose,smoke")
    config.update(base=str(tmp_path / "base"), condition_channels=(4, 8, 8, 16))
    config.lisa.hook = "down_1"
    workdir, out = tmp_path / "run", tmp_path / "out"
    save_run(workdir, config, {3: random_params})
    with HubServer({}) as hub:
        named = {"workdir": workdir, "out": out, "format": "original", "dtype": "float16", "license": "mit"}
        done = export("--private", hub=hub, push_to=NAME, **named)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir() if path.name != ".lock") == ["README.md", "pose.safetensors"]
    run = load_run(workdir)
    run.family.write_side(tmp_path / "folder", "pose", run.side["pose"])
    network = original_unet(ControlNetModel.from_pretrained(tmp_path / "folder").state_dict(), layers=1)
    written = load_file(out / "pose.safetensors")
    assert written.keys() == {f"control_model.{name}" for name in network}
    for name, tensor in network.items():
        found = written[f"control_model.{name}"]
        assert found.dtype == torch.float16 and torch.equal(found, tensor.half()), name
    assert "pose.safetensors" in (out / "README.md").read_text()
    assert hub.pushed == {NAME: contents(out, "README.md", "pose.safetensors")}
    assert hub.made[NAME].get("visibility") == "private" or hub.made[NAME].get("private") is True


def test_the_checkpoint_that_validated_best_is_exported_where_asked_for(export, run_with_best, trained_run, tmp_path):
    run = load_run(trained_run)
    ((name, side),) = run.side.items()
    run.family.write_side(tmp_path / "expected", name, side)
    assert load_run(run_with_best).step == 4
    done = export(workdir=run_with_best, out=tmp_path / "best", weights="best")
    assert done.returncode == 0, done.stderr
    assert "The ControlNet of step 2 is in" in done.stderr
    assert contents(tmp_path / "best", NETWORK) == contents(tmp_path / "expected", NETWORK)


def test_a_run_that_kept_no_best_is_told_in_one_sentence(export, trained_run, tmp_path):
    workdir = shutil.copytree(trained_run, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps(config | {"keep_best": None}))
    done = export(workdir=workdir, out=tmp_path / "out", weights="best")
    assert done.returncode == 1 and not (tmp_path / "out").exists()
    (line,) = done.stderr.splitlines()
    assert line == (
        f"error: {workdir} keeps no best checkpoint: use --weights=auto, or train with "
        "--config.keep_best=validation/main_loss."
    )
