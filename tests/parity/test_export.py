"""What a user does with an export: load it in diffusers, alone and in its pipeline, and get what training had."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.numpy import load_file, save_file
from tiny_sd import build_tiny_sd

from lisa_jax.experiments.saved_run import load_run
from lisa_jax.exporting.model_card import ModelCard
from lisa_jax.families.export_check import ExportMismatchError
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family
from lisa_jax.families.stable_diffusion import USAGE
from lisa_jax.processes import Diffusion
from lisa_jax.sampling.generate import make_generator

TOLERANCE = 1e-4
STEPS, GUIDANCE, CONTROL = 3, 3.0, 0.8
NAME, SIZE = "pose", (64, 64)
FLOAT32, FLOAT16 = jnp.dtype("float32"), jnp.dtype("float16")


def test_exported_controlnet_gives_the_same_in_diffusers(trained_run, tmp_path):
    run = load_run(trained_run)
    ((name, side),) = run.side.items()
    run.family.write_side(tmp_path, name, side)
    rng = np.random.default_rng(0)
    x_t = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    t = np.array([30, 700])
    context = rng.normal(size=(2, 8, 16)).astype(np.float32)
    condition = rng.uniform(size=(2, 16, 16, 3)).astype(np.float32)

    model, frozen = run.family.model, run.family.frozen
    time = jnp.asarray(t, jnp.float32)
    trunk = model.trunk(frozen, x_t, time, context)
    residuals, _ = model.side(run.side, trunk, x_t, time, context, {name: condition})
    ours, prior = model.predict(frozen, trunk, residuals), model.predict(frozen, trunk)

    controlnet = ControlNetModel.from_pretrained(tmp_path).eval()
    unet = UNet2DConditionModel.from_pretrained(run.config.base, subfolder="unet").eval()
    nchw = [torch.from_numpy(array.transpose(0, 3, 1, 2)) for array in (x_t, condition)]
    text, times = torch.from_numpy(context), torch.from_numpy(t)
    with torch.no_grad():
        down, mid = controlnet(nchw[0], times, text, nchw[1], return_dict=False)
        theirs = unet(
            nchw[0], times, text, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
    assert max(float(np.abs(residual).max()) for residual in residuals) > 1e-4, (
        "training has opened no zero convolution"
    )
    for ours_i, theirs_i in zip(residuals, (*down, mid), strict=True):
        np.testing.assert_allclose(ours_i, theirs_i.numpy().transpose(0, 2, 3, 1), atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=TOLERANCE, rtol=0)
    assert float(np.abs(ours - prior).max()) > 10 * TOLERANCE, "control changes nothing: the comparison would be empty"


class Export:
    """A tiny Stable Diffusion folder, its family, and a side network whose zero convolutions are open, exported."""

    def __init__(self, root, style, prediction_type):
        self.base = build_tiny_sd(root / "base", style, prediction_type)
        self.folder = root / "controlnet"
        setup = Setup((NAME,), condition_channels=(4, 8, 8, 16), frozen_dtype="float32", compute_dtype="float32")
        self.family = load_family(self.base, setup)
        fresh = jax.jit(self.family.model.init_side)(self.family.read_start(), jax.random.key(0))
        leaves, tree = jax.tree.flatten(fresh)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        moved = [leaf + 0.05 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
        self.side = jax.tree.unflatten(tree, moved)
        self.family.write_side(self.folder, NAME, self.side[NAME])

    def pipeline(self, scheduler):
        controlnet = ControlNetModel.from_pretrained(self.folder)
        pipeline = StableDiffusionControlNetPipeline.from_pretrained(self.base, controlnet=controlnet)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
        return pipeline


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return Export(tmp_path_factory.mktemp("sd21"), "sd21", "epsilon")


def pipeline_and_generator(export, scheduler, sampler):
    """Latents and images of diffusers' pipeline and of ours, from the same noise, captions and conditions."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 8, 8, 4), np.float32)
    condition = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    captions = ["a photo of cat", "red dog"]

    pipeline = export.pipeline(scheduler)

    def theirs(output_type, control=CONTROL):
        return pipeline(
            captions,
            image=[Image.fromarray(picture) for picture in condition],
            latents=torch.from_numpy(noise.transpose(0, 3, 1, 2)),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            controlnet_conditioning_scale=control,
            output_type=output_type,
        ).images

    family = export.family
    generate = make_generator(
        family,
        sampler=sampler,
        num_steps=STEPS,
        guidance_scale=GUIDANCE,
        control_scale=CONTROL,
        batch_size=2,
    )
    vae = family.latents.params
    context = family.conditioner.contexts([{"caption": caption} for caption in captions])
    latents = generate.latents(family.frozen, vae, export.side, context, {NAME: condition}, [0, 1], x_T=noise)
    images = jax.jit(family.latents.decode)(vae, latents)
    their_latents = theirs("latent")
    assert float((their_latents - theirs("latent", control=0.0)).abs().max()) > 1000 * TOLERANCE, "no control"
    return (their_latents.numpy().transpose(0, 2, 3, 1), latents), (theirs("np"), images)


@pytest.mark.parametrize(
    ("scheduler", "sampler"),
    [
        pytest.param(DDIMScheduler, "ddim", marks=pytest.mark.slow),
        (DPMSolverMultistepScheduler, "dpmpp_2m"),
    ],
)
def test_pipeline_of_diffusers_ends_in_our_latents_and_image(export, scheduler, sampler):
    (their_latents, latents), (their_images, images) = pipeline_and_generator(export, scheduler, sampler)
    difference = np.abs(their_latents - latents).max()
    apart = np.abs(np.round(255 * their_images) - images).max()
    print(f"{sampler}: latents differ by {difference:.1e} of {np.abs(latents).max():.2f}, images by {apart:.0f} of 255")
    assert difference < TOLERANCE
    assert apart <= 1


@pytest.mark.parametrize(("mode", "channels"), [("RGB", {}), ("RGBA", {NAME: 4})])
def test_code_of_the_model_card_runs(export, tmp_path, monkeypatch, mode, channels):
    monkeypatch.chdir(tmp_path)
    folder = export.folder
    if channels:
        unet = UNet2DConditionModel.from_pretrained(export.base, subfolder="unet")
        embedding = {"conditioning_embedding_out_channels": (4, 8, 8, 16), "conditioning_channels": channels[NAME]}
        ControlNetModel.from_unet(unet, **embedding).save_pretrained(folder := tmp_path / "of_channels")
    config = {
        "base": str(export.base),
        "batch_size": 4,
        "caption_dropout": 0.0,
        "ema_decay": None,
        "data": {"name": "prepared", "dir": "data", "image_size": 64, "condition": "pose"},
        "lisa": {"lam": 0.2, "hook": "down_5", "schedule": "constant"},
        "optimizer": {"learning_rate": 1e-5, "schedule": "constant", "warmup_steps": 500},
        "sampling": {"sampler": "dpmpp_2m", "num_steps": 2, "guidance_scale": 2.0},
    }
    card = ModelCard(
        process=Diffusion(),
        config=config,
        step=1,
        averaged=False,
        base_fingerprint="0",
        usage=USAGE,
        size=(64, 64),
        license=None,
        dtype="float32",
        name=NAME,
        names=(NAME,),
        conditioning_channels=channels,
    )
    code = card.render().split("```python\n")[1].split("```")[0]
    # The card names the base as a hub would, and leaves the folder to its reader.
    (tmp_path / "base").symlink_to(export.base)
    Image.new(mode, (80, 80), "white").save("condition.png")
    exec(code.replace("path/to/this/folder", str(folder)), {})
    assert Image.open("image.png").size == (64, 64)


def test_verify_measures_and_finds_a_changed_file(export, tmp_path):
    check, side = export.family.check_export, export.side[NAME]
    measured = check(export.folder, side, FLOAT32, SIZE, verifies=True)
    print(f"residuals up to {measured.largest:.2f} differ by {measured.difference:.1e}")
    assert measured.difference < 1e-5 * measured.largest and measured.rounding is None

    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "config.json").write_text((export.folder / "config.json").read_text())
    tensors = load_file(export.folder / "diffusion_pytorch_model.safetensors")
    tensors["conv_in.weight"] = np.ascontiguousarray(tensors["conv_in.weight"][..., ::-1])
    save_file(tensors, changed / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportMismatchError, match="residuals differ from ours by up to"):
        check(changed, side, FLOAT32, SIZE, verifies=True)


def test_verify_of_float16_compares_what_the_file_holds(export, tmp_path):
    export.family.write_side(tmp_path, NAME, export.side[NAME], FLOAT16)
    measured = export.family.check_export(tmp_path, export.side[NAME], FLOAT16, SIZE, verifies=True)
    print(f"rounding moves residuals by {measured.rounding:.1e}, diffusers differs by {measured.difference:.1e}")
    assert measured.difference < 1e-5 * measured.largest < measured.rounding < 1e-2 * measured.largest
