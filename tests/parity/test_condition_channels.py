"""Conditions of one channel and of four, from rows to a trained network, to diffusers and to a sample."""

import io
import json

import jax
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


@pytest.mark.parametrize("name", CHANNELS)
def test_what_is_trained_gives_the_same_in_diffusers(workdir, tmp_path, name):
    assert json.loads((workdir / "config.json").read_text())["data"]["conditioning_channels"] == CHANNELS
    run = load_run(workdir)
    run.family.write_side(tmp_path, name, run.side[name])
    rng = np.random.default_rng(0)
    x_t, context = (rng.normal(size=size).astype(np.float32) for size in ((2, 16, 16, 3), (2, 8, 16)))
    condition = rng.integers(0, 256, (2, 16, 16, CHANNELS[name]), np.uint8)
    seen = run.family.condition({}, condition, jax.random.key(0))
    t = np.array([30.0, 700.0], np.float32)
    model, frozen = run.family.model, run.family.frozen
    ours, _ = model.sides[name].apply(run.side[name], model.trunk(frozen, x_t, t, context), x_t, t, context, seen)

    theirs = ControlNetModel.from_pretrained(tmp_path).eval()
    assert theirs.config.conditioning_channels == CHANNELS[name]
    noisy, pictures = (torch.from_numpy(np.array(array).transpose(0, 3, 1, 2)) for array in (x_t, condition))
    rest = (torch.from_numpy(t), torch.from_numpy(context))
    with torch.no_grad():
        down, mid = theirs(noisy, *rest, pictures.float() / 255, return_dict=False)
        blank, _ = theirs(noisy, *rest, torch.zeros_like(pictures).float(), return_dict=False)
    for residual, expected in zip(ours, (*down, mid), strict=True):
        np.testing.assert_allclose(residual, expected.numpy().transpose(0, 2, 3, 1), atol=TOLERANCE, rtol=0)
    assert max(float(abs(a - b).max()) for a, b in zip(down, blank, strict=True)) > TOLERANCE, "it is not seen"
    measured = run.family.check_export(tmp_path, run.side[name], np.dtype("float32"), (16, 16), verifies=True)
    assert measured.difference < TOLERANCE


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
