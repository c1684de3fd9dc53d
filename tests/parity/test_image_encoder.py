"""CLIP's image tower with its projection, and what it is fed, against transformers and diffusers' video pipeline."""

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as theirs
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.clip_vision import CLIP_VISION_WITH_PROJECTION
from lisa_jax.families.antialiased_resize import antialiased_resize
from lisa_jax.models import clip_vision


@pytest.mark.parametrize("size", [(576, 1024), (300, 225), (8, 12)], ids=lambda size: "x".join(map(str, size)))
def test_pictures_are_resized_as_by_the_pipeline(size):
    picture = np.random.default_rng(0).uniform(-1, 1, (1, *size, 3)).astype(np.float32)
    expected = theirs._resize_with_antialiasing(torch.from_numpy(picture).permute(0, 3, 1, 2), (224, 224))
    difference = np.abs(np.asarray(antialiased_resize(picture, 224)) - expected.permute(0, 2, 3, 1).numpy()).max()
    print(f"{size}: {difference:.1e}")
    assert difference <= 1e-4


@torch.no_grad()
def test_embeddings_equal_transformers_and_the_written_folder_is_read_by_it(tmp_path, run, to_jax, randomise):
    fields = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPVisionConfig(**fields, image_size=32, patch_size=8, projection_dim=6, hidden_act="gelu")
    model = CLIPVisionModelWithProjection(config).eval()
    randomise(model.parameters())
    model.save_pretrained(tmp_path / "theirs")
    ours, params = CLIP_VISION_WITH_PROJECTION.read(open_checkpoint(tmp_path / "theirs"))
    pixels = torch.randn(2, 3, 32, 32)
    network = clip_vision.CLIPVisionModelWithProjection(ours)
    found = run(lambda p, x: network.apply({"params": p}, x), params, to_jax(pixels))
    expected = model(pixels).image_embeds
    np.testing.assert_allclose(found, expected, atol=1e-4)

    CLIP_VISION_WITH_PROJECTION.write(tmp_path / "ours", ours, params)
    again = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "ours").eval()
    assert torch.equal(again(pixels).image_embeds, expected)
