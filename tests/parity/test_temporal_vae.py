"""Stable Video Diffusion's autoencoder and latent space against diffusers' on the same weights, float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder as DiffusersAutoencoder
from diffusers import StableVideoDiffusionPipeline
from diffusers.video_processor import VideoProcessor

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.temporal_vae import TEMPORAL_VAE
from lisa_jax.families.svd_latents import in_chunks, temporal_latents
from lisa_jax.models.temporal_vae import AutoencoderKLTemporalDecoder, AutoencoderKLTemporalDecoderConfig

TOLERANCE = 1e-4
WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = {"block_out_channels": (32, 64), "down_block_types": ("DownEncoderBlock2D",) * 2, "layers_per_block": 2}


@pytest.fixture
def theirs(tmp_path, randomise):
    model = DiffusersAutoencoder(**CONFIG).eval()
    # At birth both resnets weigh the same, and the switch of the two would not show.
    randomise([parameter for name, parameter in model.named_parameters() if "norm" in name or "mix" in name], std=1.0)
    model.save_pretrained(tmp_path / "theirs")
    return model


@pytest.fixture
def ours(theirs, tmp_path):
    return TEMPORAL_VAE.read(open_checkpoint(tmp_path / "theirs"))


def as_torch(latents):
    return torch.from_numpy(np.array(latents)).permute(0, 1, 4, 2, 3)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 14])
def test_videos_equal_diffusers(frames, theirs, ours, run):
    config, params = ours
    z = np.random.default_rng(0).standard_normal((2, frames, 4, 6, 4)).astype(np.float32)
    decoded = run(lambda p, x: AutoencoderKLTemporalDecoder(config).apply({"params": p}, x, method="decode"), params, z)
    expected = theirs.decode(as_torch(z).flatten(0, 1), num_frames=frames).sample
    difference = np.abs(np.asarray(decoded).reshape(-1, 8, 12, 3) - expected.permute(0, 2, 3, 1).numpy()).max()
    print(f"{frames} frames: max abs difference {difference:.1e} of {float(jnp.abs(decoded).max()):.2f}")
    assert difference <= TOLERANCE


@torch.no_grad()
def test_chunks_are_those_of_the_pipeline(theirs, ours, run):
    config, params = ours
    chunk = 3
    space = temporal_latents(config, lambda: params).in_chunks_of(chunk)
    z = np.random.default_rng(0).standard_normal((1, 5, 4, 4, 4)).astype(np.float32)
    pixels = run(space.decode, params, z)

    pipeline = StableVideoDiffusionPipeline.__new__(StableVideoDiffusionPipeline)
    object.__setattr__(pipeline, "vae", theirs)
    video = pipeline.decode_latents(as_torch(z), 5, chunk)
    expected = VideoProcessor().postprocess_video(video, output_type="np")
    assert pixels.dtype == jnp.uint8 and pixels.shape == (1, 5, 8, 8, 3)
    assert np.abs(np.asarray(pixels, np.float32) - np.round(expected * 255)).max() <= 1
    assert np.mean(np.asarray(pixels) == np.round(expected * 255)) > 0.99


@torch.no_grad()
def test_moments_are_those_of_each_frame(theirs, ours, run):
    config, params = ours
    space = temporal_latents(config, lambda: params)
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 6, 4, 3), np.uint8)
    moments = run(space.moments, params, video)
    x = as_torch(video).flatten(0, 1).float() / 127.5 - 1
    posterior = theirs.encode(x).latent_dist
    expected = posterior.parameters.permute(0, 2, 3, 1).reshape(2, 3, 3, 2, 8).numpy()
    assert np.abs(np.asarray(moments) - expected).max() <= TOLERANCE
    assert moments.shape[1:] == space.moments_shape(3, 6, 4)
    mean = posterior.mode().permute(0, 2, 3, 1).reshape(2, 3, 3, 2, 4).numpy() * config.scaling_factor
    assert np.abs(np.asarray(space.mean(moments)) - mean).max() <= TOLERANCE


def test_written_folder_is_the_file_that_was_read(theirs, ours, tmp_path):
    TEMPORAL_VAE.write(tmp_path / "ours", *ours)
    assert (tmp_path / "ours" / WEIGHTS).read_bytes() == (tmp_path / "theirs" / WEIGHTS).read_bytes()
    again = DiffusersAutoencoder.from_pretrained(tmp_path / "ours", local_files_only=True)
    fields = TEMPORAL_VAE.config_file.fields(ours[0])
    assert {name: again.config[name] for name in fields if name[0] != "_"} == {
        name: value for name, value in fields.items() if name[0] != "_"
    }


def test_sizes_and_configs_that_do_not_fit_are_refused():
    config = AutoencoderKLTemporalDecoderConfig(**CONFIG)
    space = temporal_latents(config, dict)
    assert space.shape(14, 8, 6) == (14, 4, 3, 4)
    with pytest.raises(ValueError, match="makes videos"):
        space.shape(8, 8)
    with pytest.raises(ValueError, match=r"7 x 8.*multiples of 2"):
        space.shape(14, 7, 8)
    with pytest.raises(CheckpointError, match="layers_per_block 1 is not supported"):
        TEMPORAL_VAE.config_file.parse(CONFIG | {"layers_per_block": 1})


@pytest.mark.parametrize("frames", [4, 5])
def test_each_chunk_is_decoded_on_its_own(frames):
    videos = jnp.arange(2 * frames, dtype=jnp.float32).reshape(2, frames, 1)
    found = jax.jit(lambda x: in_chunks(lambda chunk: chunk - chunk[:, :1], x, 2))(videos)
    np.testing.assert_array_equal(found[:, :, 0], [[0, 1, 0, 1, 0][:frames]] * 2)
