"""What Stable Video Diffusion knows of a first frame, against diffusers' `StableVideoDiffusionPipeline`."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline
from diffusers.video_processor import VideoProcessor
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.temporal_vae import TEMPORAL_VAE
from lisa_jax.families import svd_conditioner
from lisa_jax.families.svd_conditioner import read_svd_image_encoder
from lisa_jax.families.svd_latents import frame_latents

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 12, 20, 3), np.uint8)
EXAMPLES = [{"first_frame": frame, "fps": fps, "caption": ""} for frame, fps in zip(FRAMES, (7, 29.97), strict=True)]
EXAMPLES[1]["motion"] = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svd")
    torch.manual_seed(0)
    fields = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPVisionConfig(**fields, image_size=224, patch_size=32, projection_dim=6, hidden_act="gelu")
    CLIPVisionModelWithProjection(config).save_pretrained(folder / "image_encoder")
    CLIPImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(
        folder / "feature_extractor"
    )
    levels = {"block_out_channels": (32, 32), "down_block_types": ("DownEncoderBlock2D",) * 2}
    AutoencoderKLTemporalDecoder(**levels, layers_per_block=2).save_pretrained(folder / "vae")
    return folder


@pytest.fixture(scope="module")
def pipeline(folder):
    """The parts of a pipeline that encode."""
    made = StableVideoDiffusionPipeline.__new__(StableVideoDiffusionPipeline)
    made.video_processor = VideoProcessor(vae_scale_factor=2)
    made.feature_extractor = CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    made.image_encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval()
    made.vae = AutoencoderKLTemporalDecoder.from_pretrained(folder / "vae").eval()
    return made


@pytest.fixture(scope="module")
def vae(folder):
    return TEMPORAL_VAE.read(open_checkpoint(folder), "vae")


@pytest.fixture(scope="module")
def conditioner(folder, vae):
    checkpoint = open_checkpoint(folder)
    return read_svd_image_encoder(checkpoint).load(checkpoint, partial(frame_latents, config=vae[0]))


@pytest.fixture(scope="module")
def context(conditioner):
    return conditioner.contexts(EXAMPLES)


@torch.no_grad()
def test_embeddings_equal_those_of_the_pipeline(pipeline, context):
    pictures = [Image.fromarray(frame) for frame in FRAMES]
    expected = pipeline._encode_image(pictures, "cpu", 1, False)
    difference = np.abs(context["image_embeds"] - expected.numpy()).max()
    print(f"max abs difference {difference:.1e} of {expected.abs().max():.2f}")
    assert context["image_embeds"].shape == (2, 1, 6) and difference <= 1e-4
    assert context["time_ids"].tolist() == [[6, 127], [29, 40]]
    np.testing.assert_array_equal(context["first_frame"], FRAMES)


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_latents_equal_those_of_the_pipeline_with_the_same_noise(training, pipeline, vae, conditioner, context):
    keys = jax.random.split(jax.random.key(0), 2)
    drawn = jax.jit(conditioner.draw, static_argnames="training")(vae[1], context, keys, training=training)
    level_keys, noise_keys = zip(*(jax.random.split(key) for key in keys), strict=True)
    noise = torch.from_numpy(np.stack([jax.random.normal(key, (12, 20, 3)) for key in noise_keys]))
    levels = np.stack([np.exp(-3 + 0.5 * jax.random.normal(key)) for key in level_keys]) if training else [0.02] * 2
    pixels = pipeline.video_processor.preprocess([Image.fromarray(frame) for frame in FRAMES], 12, 20)
    noisy = pixels + torch.tensor(np.float32(levels)).reshape(2, 1, 1, 1) * noise.permute(0, 3, 1, 2)
    expected = pipeline._encode_vae_image(noisy, "cpu", 1, False).permute(0, 2, 3, 1).numpy()
    difference = np.abs(drawn["image_latents"] - expected).max()
    print(f"max abs difference {difference:.1e} of {np.abs(expected).max():.2f}")
    assert difference <= 1e-4
    np.testing.assert_allclose(drawn["time_ids"], [[6, 127, levels[0]], [29, 40, levels[1]]], rtol=1e-6)
    np.testing.assert_array_equal(drawn["image_embeds"], context["image_embeds"])


def test_what_is_kept_has_the_shapes_that_are_told(conditioner, context):
    told = conditioner.shapes_at((14, 12, 20))
    assert {name: (leaf.shape[1:], leaf.dtype) for name, leaf in context.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in told.items()
    }


def test_null_has_the_same_time_ids_and_nothing_else(conditioner):
    context = {
        "image_embeds": jnp.ones((2, 1, 3)),
        "image_latents": jnp.ones((2, 1, 1, 4)),
        "time_ids": jnp.ones((2, 3)),
    }
    null = conditioner.null(context, conditioner.empty)
    assert conditioner.empty == {}
    assert {name: float(leaf.sum()) for name, leaf in null.items()} == {
        "image_embeds": 0,
        "image_latents": 0,
        "time_ids": 6,
    }


def test_levels_of_noise_in_training_are_log_normal():
    levels = jax.vmap(svd_conditioner._training_level)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose([np.log(levels).mean(), np.log(levels).std()], [-3.0, 0.5], atol=0.02)


def test_what_cannot_be_is_refused(conditioner, folder):
    with pytest.raises(ValueError, match="tells no first_frame"):
        conditioner.read([{"caption": "a house", "fps": 7}])
    with pytest.raises(ValueError, match="reads no captions"):
        conditioner.negatives({}, ["ugly"])
    assert conditioner.negatives({}, [""]) is None
    encoder = read_svd_image_encoder(open_checkpoint(folder)).encoder
    with pytest.raises(CheckpointError, match="image_size 32 is not supported"):
        svd_conditioner.check_image_encoder(dataclasses.replace(encoder, image_size=32), "config.json")
