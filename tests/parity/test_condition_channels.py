"""Conditions of one channel and of four, from rows to a trained network, to diffusers and to a sample."""

import io
import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image

from lisa_jax.configs import openmoji_lineart
from lisa_jax.data.prepared.reader import load_prepared
from lisa_jax.data.rows import Row
from lisa_jax.drawing.inputs import batches, drawings_of_requests
from lisa_jax.drawing.networks import networks_of_runs
from lisa_jax.drawing.requests import Request
from lisa_jax.experiments.base import load_base
from lisa_jax.experiments.channels import choose_channels
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.experiments.training_run import training_experiment
from lisa_jax.preparing.channels import with_channels
from lisa_jax.preparing.encoding import Encoding
from lisa_jax.preparing.images import ImageMaker
from lisa_jax.preparing.prepare import Task, prepare
from lisa_jax.sampling.generate import make_generator
from lisa_jax.training.loop import fit

CHANNELS = {"cutout": 4, "mask": 1}
TOLERANCE = 1e-4


def cutout(index):
    """Of row `index`, colours and opacity of 16 x 16; what is transparent has colours, too."""
    pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 4), np.uint8)
    pixels[:4, :, 3] = 0
    return pixels


def mask(example):
    """Where the picture is light, (H, W, 1)."""
    return np.where(example["image"].mean(-1, keepdims=True) > 127, 255, 0).astype(np.uint8)


class Rows:
    def __len__(self):
        return 8

    def __getitem__(self, index):
        file = io.BytesIO()
        Image.fromarray(cutout(index)).save(file, "PNG")
        image = np.random.default_rng(100 + index).integers(0, 256, (16, 16, 3), np.uint8)
        return Row(f"table row {index}", image, {"cutout": file.getvalue()}, f"number {index}", {})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folder of a data set with both conditions."""
    out = tmp_path_factory.mktemp("channels") / "set"
    maker = ImageMaker(((16, 16),), ("cutout",), {"mask": mask}, 0.4, channels={"cutout": 4})
    maker = with_channels(maker, Rows(), skip_bad_rows=False)
    assert maker.channels == CHANNELS
    prepare(Rows(), Task(maker, Encoding(), 8, False, {}), out, workers=1)
    return out


@pytest.fixture(scope="module")
def workdir(prepared, tiny_base):
    """A run of two steps with a side network for each of them."""
    config = openmoji_lineart.get_config()
    config.update(base=str(tiny_base), condition_channels=(8,), batch_size=2, num_steps=2, preview_count=1)
    config.data = {"name": "prepared", "dir": str(prepared), "image_size": 16, "condition": tuple(CHANNELS)}
    config.data.flip = True
    config.lisa.lam = 0.0
    # So large that two steps open the zero convolutions.
    config.optimizer.update(learning_rate=0.1, warmup_steps=0)
    config.sampling.num_steps = 1
    choose_channels(config)
    workdir = prepared.parent / "run"
    fit(training_experiment(config, load_base(config)), config, workdir)
    return workdir


def test_prepared_data_hold_them_as_they_are(prepared):
    source = load_prepared(prepared)
    assert source.channels == CHANNELS
    for example in list(source):
        held, index = example["inputs"], int(example["caption"].split()[-1])
        np.testing.assert_array_equal(held["condition"]["cutout"], cutout(index))
        np.testing.assert_array_equal(held["condition"]["mask"], mask(held))


@pytest.mark.parametrize("name", ["cutout", pytest.param("mask", marks=pytest.mark.slow)])
def test_what_is_trained_gives_the_same_in_diffusers(workdir, tmp_path, name):
    assert json.loads((workdir / "config.json").read_text())["data"]["conditioning_channels"] == CHANNELS
    run = load_run(workdir)
    run.family.write_side(tmp_path, name, run.side[name])
    measured = run.family.check_export(tmp_path, run.side[name], np.dtype("float32"), (16, 16), verifies=True)
    assert measured.difference < TOLERANCE < 100 * TOLERANCE < measured.largest

    network = ControlNetModel.from_pretrained(tmp_path, low_cpu_mem_usage=False).eval()
    assert network.config.conditioning_channels == CHANNELS[name]
    inputs = (torch.randn(1, 3, 16, 16), torch.tensor([700]), torch.randn(1, 8, 16))
    picture = torch.rand(1, CHANNELS[name], 16, 16)
    with torch.no_grad():
        for channel in range(CHANNELS[name]):
            other = picture.clone()
            other[:, channel] = 0
            seen, unseen = (network(*inputs, one, return_dict=False)[1] for one in (picture, other))
            assert float((seen - unseen).abs().max()) > TOLERANCE, f"channel {channel} is not seen"


@pytest.mark.slow
def test_files_of_them_are_sampled_with(workdir, tmp_path):
    networks = networks_of_runs({str(workdir): load_run(workdir)}, "auto")
    files = {name: tmp_path / f"{name}.png" for name in CHANNELS}
    Image.fromarray(cutout(0)).save(files["cutout"])
    Image.fromarray(cutout(1)[..., 0]).save(files["mask"])
    family = networks.family
    request = Request("the flag", "a mask", files)
    drawings = drawings_of_requests([request], [(16, 16)], family.conditioner, "", (), family.conditioning_channels)
    ((_, arrays),) = batches(drawings, 1)
    np.testing.assert_array_equal(arrays["conditions"]["cutout"][0], cutout(0))
    np.testing.assert_array_equal(arrays["conditions"]["mask"][0], cutout(1)[..., :1])
    generate = make_generator(family, **{**networks.sampling, "batch_size": 1})
    (sample,) = generate(family.frozen, family.latents.params, networks.side, **arrays, seed=0)
    assert sample.shape == (16, 16, 3)
