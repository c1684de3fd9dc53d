"""Our readers take a whole Stable Diffusion folder and compute what its diffusers pipeline computes."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny_sd import build_tiny_sd

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.tokenizer import load_tokenizer
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.models.clip_text import CLIPTextModel
from lisa_jax.models.unet import UNet

CAPTIONS = ["a photo of a red cat", "dogs! ☂ " * 30, ""]


@torch.no_grad()
@pytest.mark.parametrize(("style", "prediction_type"), [("sd15", "epsilon"), ("sd21", "v_prediction")])
def test_caption_to_prediction_equals_the_pipeline(tmp_path, run, to_jax, style, prediction_type):
    build_tiny_sd(tmp_path, style, prediction_type)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path)
    assert pipeline.scheduler.config.prediction_type == prediction_type
    assert sum(p.numel() for m in (pipeline.unet, pipeline.vae, pipeline.text_encoder) for p in m.parameters()) < 2e6

    tokenizer = load_tokenizer(open_checkpoint(tmp_path), "tokenizer")
    text_config, text_params = CLIP_TEXT.read(open_checkpoint(tmp_path), "text_encoder")
    assert tokenizer.vocab_size == text_config.vocab_size
    context = run(CLIPTextModel(text_config).apply, {"params": text_params}, tokenizer(CAPTIONS)).last_hidden_state
    expected_context = pipeline.encode_prompt(CAPTIONS, "cpu", 1, do_classifier_free_guidance=False)[0]
    difference = np.abs(context - to_jax(expected_context)).max()
    print(f"{style} context: max abs diff {difference:.2e}")
    assert difference < 2e-5

    unet_config, unet_params = UNET.read(open_checkpoint(tmp_path), "unet")
    x_t, t = torch.randn(3, 4, 8, 8), torch.tensor([1.0, 500.0, 999.0])
    prediction = run(UNet(unet_config).apply, {"params": unet_params}, to_jax(x_t), jnp.asarray(t.numpy()), context)
    expected = pipeline.unet(x_t, t, expected_context).sample
    difference = np.abs(prediction - to_jax(expected)).max()
    print(f"{style} prediction: max abs diff {difference:.2e}")
    assert difference < 1e-4
