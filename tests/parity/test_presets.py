"""Random folders of our writers load in diffusers and transformers, and compute there what they compute here."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from transformers import CLIPTextModel as TransformersText

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.tokenizer import load_tokenizer
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.presets import preset_of, write_random_base
from lisa_jax.families.random_weights import random_tree
from lisa_jax.models.clip_text import CLIPTextModel
from lisa_jax.models.unet import UNet
from lisa_jax.models.vae import AutoencoderKL

CAPTIONS = ["a photo of a red cat", "dogs! ☂ " * 30, ""]


@pytest.fixture(scope="module", params=["tiny_sd15", "tiny_sd21_v"])
def written(request, tmp_path_factory):
    folder = write_random_base(request.param, tmp_path_factory.mktemp("base") / "folder")
    return request.param, folder, StableDiffusionPipeline.from_pretrained(folder)


def test_random_folder_is_a_pipeline(written):
    name, folder, pipeline = written
    assert pipeline.scheduler.config.prediction_type == preset_of(name).scheduler["prediction_type"]
    _, report = TransformersText.from_pretrained(folder / "text_encoder", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs = pipeline.tokenizer(CAPTIONS, padding="max_length", truncation=True, max_length=77).input_ids
    np.testing.assert_array_equal(load_tokenizer(open_checkpoint(folder), "tokenizer")(CAPTIONS), theirs)


@torch.no_grad()
def test_caption_noise_and_image_give_our_outputs(written, run, to_jax):
    name, folder, pipeline = written
    text_config, text = CLIP_TEXT.read(open_checkpoint(folder), "text_encoder")
    unet_config, unet = UNET.read(open_checkpoint(folder), "unet")
    vae_config, vae = VAE.read(open_checkpoint(folder), "vae")
    ids = load_tokenizer(open_checkpoint(folder), "tokenizer")(CAPTIONS)
    x_t, t, images = torch.randn(3, 4, 8, 8), torch.tensor([1.0, 500.0, 999.0]), torch.rand(1, 3, 16, 16) * 2 - 1

    def ours(ids, x_t, t, images):
        context = CLIPTextModel(text_config).apply({"params": text}, ids).last_hidden_state
        prediction = UNet(unet_config).apply({"params": unet}, x_t, t, context)
        return context, prediction, AutoencoderKL(vae_config).apply({"params": vae}, images)

    context = pipeline.text_encoder(torch.from_numpy(ids).long()).last_hidden_state
    expected = (context, pipeline.unet(x_t, t, context).sample, pipeline.vae(images).sample)
    got = run(ours, ids, to_jax(x_t), jnp.asarray(t.numpy()), to_jax(images))
    gaps = [float(np.abs(x - to_jax(y)).max()) for x, y in zip(got, expected, strict=True)]
    print(f"{name}: max abs difference text {gaps[0]:.1e}, unet {gaps[1]:.1e}, vae {gaps[2]:.1e}")
    assert max(gaps) < 1e-4


def test_controlnet_of_a_preset_is_the_one_that_diffusers_makes(tmp_path):
    folder = write_random_base("tiny_sd21", tmp_path / "base")
    chosen = preset_of("tiny_sd21")
    unet = StableDiffusionPipeline.from_pretrained(folder).unet
    theirs = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=chosen.condition_channels)
    CONTROLNET.write(tmp_path / "side", chosen.controlnet, random_tree(CONTROLNET.key_table(chosen.controlnet), 0))
    ours = ControlNetModel.from_pretrained(tmp_path / "side")
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    for field in CONTROLNET.config_file.fields(chosen.controlnet).keys() - {"_class_name", "_diffusers_version"}:
        got, expected = ours.config[field], theirs.config[field]
        assert (list(got) if isinstance(got, tuple) else got) == (
            list(expected) if isinstance(expected, tuple) else expected
        ), field
