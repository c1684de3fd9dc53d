"""Stable Diffusion XL and its ControlNets in one file of the original layout, against diffusers' own conversions."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLPipeline
from diffusers.loaders import single_file_utils as theirs
from original_sd import original_unet, write_original_xl
from safetensors.torch import load_file, save_file

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.original_controlnet import write_original_controlnet
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.registry import architecture_of, load_family
from lisa_jax.models.controlnet import controlnet_config_from_unet

NETWORK = "diffusion_pytorch_model.safetensors"
PROMPTS = ["a red cat", "photo of dog"]
LAYERS = 1
FLOAT32 = Setup(frozen_dtype="float32", compute_dtype="float32")
# As the original layout tells it by its shapes alone: 64 channels a head, 256 numbers a time id.
SMALL = {
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "attention_head_dim": (1, 1, 2),
    "use_linear_projection": True,
    "cross_attention_dim": 12,
    "layers_per_block": LAYERS,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 6 * 256 + 10,
}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A folder, the same as one file, its tensors, and beside it the folder that has what the file lacks."""
    root = tmp_path_factory.mktemp("sdxl")
    tiny = preset_of("tiny_sdxl")
    # Text encoders of one width are the same to diffusers.
    clip_l, clip_g = tiny.clip[0], dataclasses.replace(tiny.clip[1], hidden_size=24)
    unet = dataclasses.replace(tiny.unet, layers_per_block=LAYERS, cross_attention_dim=40)
    dataclasses.replace(tiny, unet=unet, clip=(clip_l, clip_g)).write(root / "folder", seed=0)
    tensors = write_original_xl(root / "folder", root / "single.safetensors", LAYERS)
    # Heads, groups and sinusoids of tiny networks are not told by their shapes.
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        (root / "single" / part).mkdir(parents=True)
        shutil.copy(root / "folder" / part / "config.json", root / "single" / part)
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(root / "folder" / part, root / "single" / part)
    return root / "folder", root / "single.safetensors", tensors


def assert_equal_states(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def assert_equal_trees(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert all(np.array_equal(*leaves) for leaves in zip(*map(jax.tree.leaves, (found, expected)), strict=True))


@torch.no_grad()
def test_a_file_is_read_as_diffusers_reads_it(single, max_difference):
    folder, path, _ = single
    pipeline = StableDiffusionXLPipeline.from_single_file(
        path, config=str(folder), local_files_only=True, add_watermarker=False
    )
    for part in ("unet", "vae"):
        assert_equal_states(getattr(pipeline, part).state_dict(), load_file(folder / part / NETWORK))
    ours, of_folder = load_family(path, FLOAT32), load_family(folder, FLOAT32)
    assert_equal_trees(ours.frozen, of_folder.frozen)
    assert_equal_trees(ours.latents.params, of_folder.latents.params)
    assert_equal_trees(ours.conditioner.params, of_folder.conditioner.params)
    assert ours.process == of_folder.process and ours.size == of_folder.size
    assert ours.fingerprint != of_folder.fingerprint
    tokens, _, pooled, _ = pipeline.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    context = ours.conditioner.of_captions(PROMPTS)
    assert max_difference((tokens, pooled), (context["tokens"], context["pooled"])) < 1e-5


def test_a_file_of_a_vae_alone_takes_the_place_of_a_base_s_own(single, tmp_path):
    folder, _, tensors = single
    prefix = "first_stage_model."
    alone = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    save_file({key: 2 * tensor for key, tensor in alone.items()}, tmp_path / "vae.safetensors")
    own, other = (load_family(folder, FLOAT32, vae=vae).latents.params for vae in (None, tmp_path / "vae.safetensors"))
    assert_equal_trees(other, jax.tree.map(lambda leaf: 2 * leaf, own))


def test_a_file_says_by_empty_tensors_that_it_predicts_v(single, tmp_path):
    _, path, tensors = single
    shutil.copytree(path.with_suffix(""), tmp_path / "v")
    save_file(tensors | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "v.safetensors")
    epsilon, v = (load_family(file, Setup()).process for file in (path, tmp_path / "v.safetensors"))
    assert (epsilon.prediction_type, epsilon.rescale_betas_zero_snr) == ("epsilon", False)
    assert (v.prediction_type, v.rescale_betas_zero_snr) == ("v_prediction", True)


def test_a_folder_is_written_of_a_file(single, tmp_path):
    folder, path, _ = single
    family = load_family(path, FLOAT32)
    family.write_main(tmp_path, family.frozen)
    pipeline = StableDiffusionXLPipeline.from_pretrained(tmp_path, add_watermarker=False)
    expected = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        assert_equal_states(getattr(pipeline, part).state_dict(), getattr(expected, part).state_dict())
    assert pipeline.scheduler.config.beta_schedule == "scaled_linear"


def test_a_controlnet_goes_both_ways_byte_for_byte(tmp_path, randomise):
    model = ControlNetModel(**SMALL)
    randomise(model.controlnet_down_blocks.parameters())
    model.save_pretrained(tmp_path / "folder")
    original = original_unet(model.state_dict(), LAYERS)
    # diffusers 0.42 has names for the added embedding of such a file and leaves it out.
    added = theirs.DIFFUSERS_TO_LDM_MAPPING["controlnet"]["addition_embed_type"]
    converted = theirs.convert_controlnet_checkpoint(dict(original), model.config)
    assert_equal_states(converted | {new: original[old] for new, old in added.items()}, model.state_dict())
    save_file(
        {f"control_model.{key}": tensor.contiguous() for key, tensor in original.items()},
        tmp_path / "prefixed.safetensors",
        {"format": "pt"},
    )
    shutil.copy(tmp_path / "folder" / NETWORK, tmp_path / "diffusers.safetensors")
    expected_config, expected = CONTROLNET.read(open_checkpoint(tmp_path / "folder"))
    for name in ("prefixed", "diffusers"):
        found_config, found = CONTROLNET.read(open_checkpoint(tmp_path / f"{name}.safetensors"))
        assert found_config == expected_config
        assert_equal_trees(found, expected)
    write_original_controlnet(tmp_path / "ours", "pose", expected_config, expected)
    assert (tmp_path / "ours" / "pose.safetensors").read_bytes() == (tmp_path / "prefixed.safetensors").read_bytes()


# Quicker beside it: the test before.
@pytest.mark.slow
def test_what_a_base_exports_for_web_interfaces_continues_beside_it(tmp_path):
    tiny = preset_of("tiny_sdxl")
    told = {name: value for name, value in SMALL.items() if name in ("block_out_channels", "attention_head_dim")}
    told |= {"addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 6 * 256 + 20}
    unet = dataclasses.replace(tiny.unet, layers_per_block=LAYERS, norm_num_groups=32, **told)
    dataclasses.replace(tiny, unet=unet).write(tmp_path / "base", seed=0)
    config = controlnet_config_from_unet(unet)
    written = jax.tree.map(np.asarray, random_tree(CONTROLNET.key_table(config), seed=1))
    load_family(tmp_path / "base", Setup(("pose",))).write_original(tmp_path, "pose", written)
    again = Setup(("pose",), start_from={"pose": str(tmp_path / "pose.safetensors")})
    assert_equal_trees(load_family(tmp_path / "base", again).read_start()["pose"], written)


def test_a_controlnet_of_another_time_embedding_has_no_original_layout(tmp_path):
    other = {"addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + 10}
    ControlNetModel(**SMALL | other).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"would not take it for this network: .* addition_time_embed_dim 256"):
        write_original_controlnet(tmp_path, "pose", *CONTROLNET.read(open_checkpoint(tmp_path)))


def test_what_a_file_lacks_or_has_too_much_is_named(single, tmp_path):
    _, path, tensors = single
    beside = shutil.copytree(path.with_suffix(""), tmp_path / "model")
    shutil.copy(path, tmp_path / "model.safetensors")
    shutil.rmtree(beside / "tokenizer_2")
    with pytest.raises(CheckpointError, match=r"has no tokenizer_2, and .*/model/tokenizer_2/.* is missing: put the"):
        load_family(tmp_path / "model.safetensors", Setup())
    shutil.copytree(beside / "tokenizer", beside / "tokenizer_2")
    with pytest.raises(CheckpointError, match=r"tokenizer_2 pads .*: take the tokenizer_2/ of a Stable Diffusion XL"):
        load_family(tmp_path / "model.safetensors", Setup())
    alone = {key: tensor for key, tensor in tensors.items() if key.startswith("model.diffusion_model.")}
    save_file(alone, tmp_path / "unet.safetensors")
    shutil.copytree(beside / "unet", tmp_path / "unet" / "unet")
    with pytest.raises(CheckpointError, match=r"has no text_encoder, and .*/unet/text_encoder/config.json is missing"):
        architecture_of(open_checkpoint(tmp_path / "unet.safetensors"))


@pytest.mark.parametrize(("channels", "words"), [(9, "those of inpainting"), (8, "those of InstructPix2Pix")])
def test_a_file_of_a_wider_unet_is_named_as_what_it_is(single, tmp_path, channels, words):
    _, path, tensors = single
    beside = shutil.copytree(path.with_suffix(""), tmp_path / "wide")
    name = "model.diffusion_model.input_blocks.0.0.weight"
    save_file(tensors | {name: torch.zeros(len(tensors[name]), channels, 3, 3)}, tmp_path / "wide.safetensors")
    text = (beside / "unet" / "config.json").read_text().replace('"in_channels": 4', f'"in_channels": {channels}')
    (beside / "unet" / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        architecture_of(open_checkpoint(tmp_path / "wide.safetensors"))
