"""A base and a ControlNet that lie in a file each compute what diffusers' `from_single_file` makes of them."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from original_sd import original_unet, write_original, write_original_xl
from safetensors.torch import save_file
from tiny_sd import CONTEXT, build_tiny_sd

from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of
from lisa_jax.families.registry import load_family

PROMPTS, SIZE, LAYERS = ["a red cat", "photo of dog"], 64, 1
FLOAT32 = {"frozen_dtype": "float32", "compute_dtype": "float32"}
# Networks whose heads are told by their shapes alone, as those of published files are.
UNETS = {
    "sd15": {"block_out_channels": (32, 64), "attention_head_dim": 8},
    "sd21": {"block_out_channels": (64, 128), "attention_head_dim": [1, 2], "use_linear_projection": True},
}


def write_base(folder, style):
    """Write a folder of diffusers; gives its pipeline's class."""
    if style == "sdxl":
        tiny = preset_of("tiny_sdxl")
        told = {"block_out_channels": (32, 64, 128), "attention_head_dim": (1, 1, 2), "addition_time_embed_dim": 256}
        told |= {"transformer_layers_per_block": (1, 1, 1), "cross_attention_dim": 40, "norm_num_groups": 32}
        # Text encoders of one width are the same to diffusers.
        clip = (tiny.clip[0], dataclasses.replace(tiny.clip[1], hidden_size=24))
        pooled = {"projection_class_embeddings_input_dim": 6 * 256 + clip[1].projection_dim}
        unet = dataclasses.replace(tiny.unet, layers_per_block=LAYERS, **told, **pooled)
        dataclasses.replace(tiny, unet=unet, clip=clip).write(folder, seed=0)
        return StableDiffusionXLPipeline
    build_tiny_sd(folder, style, "v_prediction" if style == "sd21" else "epsilon")
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=LAYERS,
        cross_attention_dim=CONTEXT,
        **UNETS[style],
    )
    unet.save_pretrained(folder / "unet")
    return StableDiffusionPipeline


def write_beside(folder, beside):
    """What a file lacks, and what of tiny text encoders and VAEs their shapes do not tell."""
    shutil.copytree(folder, beside, ignore=lambda *_: ("unet", "model_index.json"))
    for path in beside.rglob("*.safetensors"):
        path.unlink()


@torch.no_grad()
@pytest.mark.parametrize("style", [pytest.param("sd15", marks=pytest.mark.slow), "sd21", "sdxl"])
def test_captions_give_the_pictures_of_diffusers(style, tmp_path, randomise, to_jax, run, max_difference):
    folder, path, pose = tmp_path / "folder", tmp_path / "base.safetensors", tmp_path / "pose.safetensors"
    kind = write_base(folder, style)
    write_original_xl(folder, path, LAYERS) if style == "sdxl" else write_original(folder, path, style, LAYERS)
    write_beside(folder, tmp_path / "base")
    pipeline = kind.from_single_file(str(path), config=str(folder), local_files_only=True)
    side = ControlNetModel.from_unet(pipeline.unet)
    randomise(side.controlnet_down_blocks.parameters())
    side.save_pretrained(tmp_path / "side")
    tensors = original_unet(side.state_dict(), LAYERS)
    save_file({f"control_model.{key}": tensor.contiguous() for key, tensor in tensors.items()}, pose)
    if style != "sdxl":  # of whose files diffusers 0.42 leaves out the added embedding
        side = ControlNetModel.from_single_file(str(pose), config=str(tmp_path / "side"), local_files_only=True)

    x_t, t = torch.randn(2, 4, SIZE // 8, SIZE // 8), torch.tensor([3.0, 900.0])
    condition = torch.rand(2, 3, SIZE, SIZE)
    alone = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    tokens, _, *pooled = pipeline.encode_prompt(PROMPTS, **alone)
    times = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]] * 2)
    added = {"added_cond_kwargs": {"text_embeds": pooled[0], "time_ids": times}} if pooled else {}
    down, mid = side(x_t, t, tokens, condition, return_dict=False, **added)
    control = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    plain, controlled = (pipeline.unet(x_t, t, tokens, **added, **kept).sample for kept in ({}, control))
    decoded = pipeline.vae.decode(x_t / pipeline.vae.config.scaling_factor).sample

    family = load_family(path, Setup(("pose",), start_from={"pose": str(pose)}, **FLOAT32))
    example = {"size": (SIZE, SIZE), "original_size": (SIZE, SIZE), "crop": (0, 0)}
    context = family.conditioner.contexts([{"caption": prompt, **example} for prompt in PROMPTS])

    def ours(frozen, vae, params, x_t, t, context, condition):
        trunk = family.model.trunk(frozen, x_t, t, context)
        residuals = family.model.side(params, trunk, x_t, t, context, {"pose": condition}).residuals
        predicted = [family.model.predict(frozen, trunk, one) for one in (None, residuals)]
        return (*predicted, family.latents.decode(vae, x_t))

    given = (to_jax(x_t), to_jax(t), context, to_jax(condition))
    *found, pictures = run(ours, family.frozen, family.latents.params, family.read_start(), *given)
    difference, effect = max_difference((plain, controlled), found), float((plain - controlled).abs().max())
    print(f"{style}: max abs difference {difference:.1e} of {float(controlled.abs().max()):.2f}, effect {effect:.2f}")
    assert difference < 1e-5 and effect > 0.1
    expected = to_jax(127.5 * (decoded + 1)).clip(0, 255)
    assert np.abs(np.asarray(pictures, np.float32) - expected).max() < 0.51
