"""Bases of videos without a VAE: patches of pixels, the base that ships with the package, and a new one.

The latter takes half a minute: `pytest -m slow tests/families/test_svd_pixel_base.py`.
"""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel

import lisa_jax
from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.configs import figures_video_base
from lisa_jax.families.family import Setup
from lisa_jax.families.pixel_videos import patch_of, pixel_videos
from lisa_jax.families.registry import load_family
from lisa_jax.families.stable_video_diffusion import read_architecture
from lisa_jax.families.svd_conditioner import SAMPLING_NOISE
from lisa_jax.families.svd_pixel_base import write_new_base

FLOAT32 = {"frozen_dtype": "float32", "compute_dtype": "float32"}


BASE = Path(lisa_jax.__file__).parent / "assets" / "figures_video_base"


@pytest.fixture(scope="module")
def family():
    return load_family(BASE, Setup(**FLOAT32))


@pytest.fixture(scope="module")
def videos():
    return np.random.default_rng(0).integers(0, 256, (2, 3, 8, 12, 3), np.uint8)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_are_those_of_pytorch_and_nothing_is_lost(videos, patch):
    space = pixel_videos(patch)
    latents = space.sample(space.moments({}, videos), jax.random.key(0))
    assert latents.shape[1:] == space.shape(3, 8, 12)
    scaled = torch.from_numpy(videos).double().permute(0, 1, 4, 2, 3) / 127.5 - 1
    # PyTorch's channels go by colour first.
    squares = torch.nn.functional.pixel_unshuffle(2 * scaled, patch).unflatten(2, (3, patch**2))
    theirs = squares.permute(0, 1, 4, 5, 3, 2).flatten(-2)
    np.testing.assert_allclose(latents, theirs, atol=1e-6)
    np.testing.assert_array_equal(space.decode({}, latents), videos)


def test_frames_that_the_patches_do_not_fill_and_pictures_are_refused():
    with pytest.raises(ValueError, match=r"8 x 10 do not fit this base: its UNet sees squares of 4 x 4 .* of 4"):
        pixel_videos(4).shape(3, 8, 10)
    with pytest.raises(ValueError, match=r"makes videos of \(F, H, W\), but data\.image_size is 8 x 8"):
        pixel_videos(1).shape(8, 8)
    assert [patch_of(channels) for channels in (3, 12, 27, 4, 6)] == [1, 2, 3, None, None]


@pytest.mark.slow
def test_a_new_base_is_read_by_us_and_its_unet_by_diffusers(tmp_path):
    config = figures_video_base.get_config()
    config.data.image_size = (3, 16, 16)
    config.temporal_unet.update(block_out_channels=(32, 32), cross_attention_levels=(False, True), heads=(1, 1))
    config.image_encoder.update(width=8, heads=2)
    write_new_base(tmp_path / "base", config, ["nobody reads this"])
    family = load_family(tmp_path / "base", Setup(**FLOAT32))
    assert family.size == (3, 16, 16) and family.latents.shape(3, 16, 16) == (3, 8, 8, 12)
    unet = UNetSpatioTemporalConditionModel.from_pretrained(tmp_path / "base" / "unet")
    assert unet.num_parameters() == sum(leaf.size for leaf in jax.tree.leaves(family.frozen))
    scheduler = json.loads((tmp_path / "base" / "scheduler" / "scheduler_config.json").read_text())
    assert (scheduler["sigma_min"], scheduler["sigma_max"]) == (config.scheduler.sigma_min, config.scheduler.sigma_max)


def test_the_base_that_ships_is_small_and_makes_clips():
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) < 12e6
    assert load_family(BASE, Setup(**FLOAT32)).size == (8, 32, 32)


@pytest.mark.slow
@torch.no_grad()
def test_its_prediction_equals_diffusers(family):
    rng = np.random.default_rng(0)
    x_t, first = rng.normal(size=(2, 8, 16, 16, 12)), rng.normal(size=(2, 16, 16, 12))
    context = {"image_embeds": rng.normal(size=(2, 1, 64)), "image_latents": first, "time_ids": [[6, 127, 0.02]] * 2}
    context = {name: np.float32(part) for name, part in context.items()}
    t = np.float32([-1.1, 0.4])
    seen = torch.from_numpy(np.concatenate([x_t, np.repeat(first[:, None], 8, 1)], -1).astype(np.float32))
    unet = UNetSpatioTemporalConditionModel.from_pretrained(BASE / "unet", torch_dtype=torch.float32).eval()
    known = (torch.from_numpy(context[name]) for name in ("image_embeds", "time_ids"))
    theirs = unet(seen.permute(0, 1, 4, 2, 3), torch.from_numpy(t), *known).sample.permute(0, 1, 3, 4, 2)
    trunk = family.model.trunk(family.frozen, np.float32(x_t), t, context)
    ours = family.model.predict(family.frozen, trunk)
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


def test_first_frame_is_seen_as_patches_with_noise_as_all_frames_are(family, videos):
    conditioner, space = family.conditioner, family.latents
    context = conditioner.contexts([{"first_frame": video[0], "fps": 7} for video in videos])
    drawn = conditioner.draw({}, context, jax.random.split(jax.random.key(0), 2), training=False)
    clean = space.moments({}, videos)[:, 0]
    noise = np.asarray(drawn["image_latents"] - clean)
    assert 0.5 * SAMPLING_NOISE < noise.std() < 2 * SAMPLING_NOISE and np.abs(noise).max() < 6 * SAMPLING_NOISE
    assert jnp.all(drawn["time_ids"] == jnp.float32([6, 127, SAMPLING_NOISE]))


def test_without_a_vae_the_unet_must_see_pixels(tmp_path):
    shutil.copytree(BASE, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    config = tmp_path / "base" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 8, "out_channels": 4}))
    with pytest.raises(CheckpointError, match=r"has no vae, .* 6 p\^2 in_channels, .*, but it takes 8 and gives 4"):
        read_architecture(open_checkpoint(tmp_path / "base"))
