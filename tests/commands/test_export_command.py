"""`lisa_jax export`: a folder with weights, card and picture."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


def test_command_writes_folder_card_and_picture(trained_run, command_env, tmp_path):
    plain = tmp_path / "diffusion_pytorch_model.safetensors"
    plain.write_bytes(b"what is there in float32")
    flags = {"workdir": trained_run, "out": tmp_path, "dtype": "float16", "license": "mit", "samples": 3}
    flags["variant"] = True
    argv = [sys.executable, "-m", "lisa_jax", "export", *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "rounding to float16 moves a residual by" in done.stderr
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "ControlNetModel"
    _, front_matter, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    front_matter = yaml.safe_load(front_matter)
    assert front_matter["license"] == "mit" and front_matter["base_model"] == "base"
    assert "| steps | 8 of batch 8 |" in text and "Validation after 8 steps" in text
    assert "works on pixels" in text and 'from_pretrained("path/to/this/folder", variant="fp16")' in text
    assert plain.read_bytes() == b"what is there in float32"
    half = ControlNetModel.from_pretrained(tmp_path, variant="fp16", torch_dtype=torch.float16, low_cpu_mem_usage=False)
    written = load_file(tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    assert all(torch.equal(value, written[name]) for name, value in half.state_dict().items())
    assert np.asarray(Image.open(tmp_path / "samples.png")).std() > 10
