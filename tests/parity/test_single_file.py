"""Stable Diffusion and ControlNets in one file of the original layout, against diffusers' own conversions."""

import json
import shutil

import jax
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders import single_file_utils as theirs
from original_sd import original_unet, write_original
from safetensors.torch import load_file, save_file
from tiny_sd import build_tiny_sd

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.original_controlnet import write_original_controlnet
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family

NETWORK = "diffusion_pytorch_model.safetensors"
PARTS = {"vae": AutoencoderKL, "scheduler": DDIMScheduler}
# As the original layout tells it by its shapes alone: eight heads, or 64 channels a head.
SMALL = {
    "block_out_channels": (32, 64, 64, 64),
    "cross_attention_dim": 12,
    "attention_head_dim": 8,
}
SMALL_2 = {
    "block_out_channels": (64, 128, 64, 64),
    "cross_attention_dim": 12,
    "attention_head_dim": [1, 2, 1, 1],
    "use_linear_projection": True,
}


class Single:
    """A tiny folder, and the same as one file, checked with diffusers; the folder beside it has what the file lacks."""

    def __init__(self, root, style):
        self.folder, self.path, self.beside = root / "folder", root / "single.safetensors", root / "single"
        build_tiny_sd(self.folder, style, "v_prediction" if style == "sd21" else "epsilon")
        self.tensors = write_original(self.folder, self.path, style)
        # Heads of tiny networks are not told by their shapes.
        for part in ("unet/config.json", "vae/config.json", "text_encoder/config.json"):
            (self.beside / part).parent.mkdir(parents=True)
            shutil.copy(self.folder / part, self.beside / part)
        for part in ("tokenizer", "scheduler"):
            shutil.copytree(self.folder / part, self.beside / part)


@pytest.fixture(scope="module", params=["sd15", "sd21"])
def single(request, tmp_path_factory):
    return Single(tmp_path_factory.mktemp(request.param), request.param)


def state(folder):
    return load_file(folder / NETWORK)


def assert_equal_states(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def assert_equal_trees(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert all(np.array_equal(*leaves) for leaves in zip(*map(jax.tree.leaves, (found, expected)), strict=True))


def test_a_file_is_read_as_the_folder_that_diffusers_makes_of_it(single):
    configs = (
        UNet2DConditionModel.load_config(single.folder / "unet"),
        AutoencoderKL.load_config(single.folder / "vae"),
    )
    assert_equal_states(
        theirs.convert_ldm_unet_checkpoint(dict(single.tensors), configs[0]), state(single.folder / "unet")
    )
    assert_equal_states(
        theirs.convert_ldm_vae_checkpoint(dict(single.tensors), configs[1]), state(single.folder / "vae")
    )
    pipeline = StableDiffusionPipeline.from_single_file(
        single.path, config=str(single.folder), local_files_only=True, safety_checker=None
    )
    text = load_file(single.folder / "text_encoder" / "model.safetensors")
    text = {key.removeprefix("text_model."): tensor for key, tensor in text.items()}
    found = pipeline.text_encoder.state_dict()
    assert_equal_states({key.removeprefix("text_model."): tensor for key, tensor in found.items()}, text)

    setup = Setup(frozen_dtype="float32", compute_dtype="float32")
    ours, folder = load_family(single.path, setup), load_family(single.folder, setup)
    assert_equal_trees(ours.frozen, folder.frozen)
    assert_equal_trees(ours.latents.params, folder.latents.params)
    assert_equal_trees(ours.conditioner.params, folder.conditioner.params)
    assert ours.process == folder.process and ours.size == folder.size
    assert ours.fingerprint != folder.fingerprint


@pytest.mark.parametrize("single", ["sd21"], indirect=True)
def test_a_folder_is_written_of_a_file(single, tmp_path):
    family = load_family(single.path, Setup(frozen_dtype="float32"))
    family.write_main(tmp_path, family.frozen)
    vae, scheduler = (kind.from_pretrained(tmp_path / name) for name, kind in PARTS.items())
    assert_equal_states(vae.state_dict(), state(single.folder / "vae"))
    assert scheduler.config.prediction_type == family.process.prediction_type == "v_prediction"


def controlnet(config, randomise):
    model = ControlNetModel(**config)
    randomise(model.controlnet_down_blocks.parameters())
    return model


@pytest.mark.parametrize("config", [SMALL, SMALL_2], ids=["sd15", "sd21"])
def test_a_controlnet_goes_both_ways_byte_for_byte(config, tmp_path, randomise):
    model = controlnet(config, randomise)
    model.save_pretrained(tmp_path / "folder")
    original = original_unet(model.state_dict())
    assert_equal_states(theirs.convert_controlnet_checkpoint(dict(original), model.config), model.state_dict())
    prefixed = {f"control_model.{key}": tensor.contiguous() for key, tensor in original.items()}
    save_file(prefixed, tmp_path / "prefixed.safetensors", {"format": "pt"})
    save_file({key: tensor.contiguous() for key, tensor in original.items()}, tmp_path / "bare.safetensors")
    shutil.copy(tmp_path / "folder" / NETWORK, tmp_path / "diffusers.safetensors")

    expected_config, expected = CONTROLNET.read(open_checkpoint(tmp_path / "folder"))
    for name in ("prefixed", "bare", "diffusers"):
        found_config, found = CONTROLNET.read(open_checkpoint(tmp_path / f"{name}.safetensors"))
        assert found_config == expected_config
        assert_equal_trees(found, expected)
    write_original_controlnet(tmp_path / "ours", "pose", expected_config, expected)
    assert (tmp_path / "ours" / "pose.safetensors").read_bytes() == (tmp_path / "prefixed.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match=r"prefixed\.safetensors is no base: a ControlNet goes to"):
        load_family(tmp_path / "prefixed.safetensors", Setup())


def test_what_a_file_lacks_is_named_with_the_place_for_it(single, tmp_path):
    path = shutil.copy(single.path, tmp_path / "model.safetensors")
    is_2 = "cond_stage_model.model.ln_final.bias" in single.tensors
    for part in ("unet", "vae", "text_encoder"):
        shutil.copytree(single.beside / part, tmp_path / "model" / part)
    if is_2:
        with pytest.raises(CheckpointError, match=r"does not say what it predicts: write .* into .*/model/scheduler/"):
            load_family(path, Setup())
        shutil.copytree(single.beside / "scheduler", tmp_path / "model" / "scheduler")
    with pytest.raises(CheckpointError, match=r"has no tokenizer, and .*/model/tokenizer/.* is missing: put the"):
        load_family(path, Setup())
    tokenizer = shutil.copytree(single.beside / "tokenizer", tmp_path / "model" / "tokenizer")
    shutil.rmtree(tmp_path / "model" / "vae")
    without = {key: tensor for key, tensor in single.tensors.items() if not key.startswith("first_stage_model.")}
    save_file(without, path)
    with pytest.raises(CheckpointError, match=r"model/vae/config\.json is missing"):
        load_family(path, Setup())
    shutil.copytree(single.folder / "vae", tmp_path / "model" / "vae")
    assert load_family(path, Setup()).process.prediction_type == ("v_prediction" if is_2 else "epsilon")
    if is_2:
        (tokenizer / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<|endoftext|>"}))
        with pytest.raises(CheckpointError, match=r"pads captions with '<\|endoftext\|>', but .* trained with '!'"):
            load_family(path, Setup())


def test_other_files_are_named_as_what_they_are(tmp_path):
    for key, message in (
        ("conditioner.embedders.0.model.ln_final.bias", "is the refiner of Stable Diffusion XL"),
        ("model.diffusion_model.joint_blocks.0.x", "is Stable Diffusion 3 in one file"),
        ("model.diffusion_model.time_embed.cond_proj.weight", r"is a latent consistency model \(LCM\): of single"),
        ("edm_mean", "is Playground 2.5"),
        ("control_add_embedding.linear_1.weight", r"is a ControlNet of several conditions \(union\)"),
        ("model.diffusion_model.input_blocks.1.0.time_stack.x", "is Stable Video Diffusion in one file"),
        ("lora_unet_down_blocks_0.alpha", "is a LoRA, which changes a base and is none"),
        ("control_model.difference", "holds the differences of a ControlNet from a base"),
        ("model.diffusion_model.patchify_proj.weight", "holds neither a Stable Diffusion 1, 2 or XL"),
        ("model.diffusion_model.input_blocks.0.0.weight", "is not whole: it has no mid_block"),
        ("cond_stage_model.model.token_embedding.weight", "holds tensors of other shapes or names"),
    ):
        save_file({key: torch.ones(4, 4, 3, 3)}, tmp_path / "some.safetensors")
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(tmp_path / "some.safetensors")


def test_what_the_original_layout_cannot_say_is_refused(tmp_path, randomise):
    model = controlnet(SMALL | {"attention_head_dim": 4}, randomise)
    model.save_pretrained(tmp_path / "folder")
    with pytest.raises(ValueError, match=r"attention_head_dim \(4, 4, 4, 4\) cannot be written"):
        write_original_controlnet(tmp_path, "pose", *CONTROLNET.read(open_checkpoint(tmp_path / "folder")))
    assert not (tmp_path / "pose.safetensors").exists()
