"""The latent space of a VAE base against diffusers' image processor, posterior and decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.autoencoder import autoencoder_latents
from lisa_jax.models.vae import AutoencoderKLConfig

CONFIG = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
    "latent_channels": 3,
}
SD = {"scaling_factor": 0.18215}
# As Stable Diffusion 3 has it, and a VAE of Stable Diffusion 1 or 2 with a shift.
SHIFTED = {"scaling_factor": 1.5305, "shift_factor": 0.0609}
SD3 = SHIFTED | {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}


@pytest.fixture(params=[SD, SHIFTED, SD3], ids=["scaled", "shifted", "sd3"])
def theirs(request, tmp_path, randomise):
    model = AutoencoderKL(**CONFIG | request.param).eval()
    randomise([parameter for name, parameter in model.named_parameters() if "norm" in name], std=1.0)
    model.save_pretrained(tmp_path)
    return model


def load(folder, dtype=jnp.float32):
    config, params = VAE.read(open_checkpoint(folder), dtype=dtype)
    return autoencoder_latents(config, lambda: params, dtype)


@pytest.fixture
def latents(theirs, tmp_path):
    return load(tmp_path)


@torch.no_grad()
def test_image_to_latents_equals_diffusers(theirs, latents, run, to_jax):
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 20, 3), np.uint8)
    processor = VaeImageProcessor(vae_scale_factor=2)
    posterior = theirs.encode(processor.preprocess([Image.fromarray(image) for image in images])).latent_dist

    moments = run(latents.moments, latents.params, images)
    channels = theirs.config.latent_channels
    assert moments.dtype == jnp.float32 and moments.shape[1:] == latents.moments_shape(12, 20) == (6, 10, 2 * channels)
    assert latents.shape(12, 20) == (6, 10, channels)
    difference = float(np.abs(moments - to_jax(posterior.parameters)).max())

    key = jax.random.key(0)
    eps = torch.from_numpy(np.array(jax.random.normal(key, (2, 6, 10, channels)))).permute(0, 3, 1, 2)
    z = (posterior.mean + posterior.std * eps - (theirs.config.shift_factor or 0)) * theirs.config.scaling_factor
    drawn = run(latents.sample, moments, key)
    latent_difference = float(np.abs(drawn - to_jax(z)).max())
    mode = (posterior.mode() - (theirs.config.shift_factor or 0)) * theirs.config.scaling_factor
    mean_difference = float(np.abs(latents.mean(moments) - to_jax(mode)).max())
    print(f"max abs difference: moments {difference:.1e}, latents {latent_difference:.1e}, mean {mean_difference:.1e}")
    assert max(difference, latent_difference, mean_difference) < 1e-5


@torch.no_grad()
def test_latents_to_image_equals_diffusers(theirs, latents, run, to_jax):
    model_space = torch.randn(2, theirs.config.latent_channels, 6, 10)
    decoded = theirs.decode(model_space / theirs.config.scaling_factor + (theirs.config.shift_factor or 0)).sample
    decoded *= 3  # so that some of it is clipped
    expected = np.stack([np.asarray(image) for image in VaeImageProcessor().postprocess(decoded)])
    assert {0, 255} <= set(expected.ravel())
    latents.params["decoder"]["conv_out"]["kernel"] *= 3
    latents.params["decoder"]["conv_out"]["bias"] *= 3

    images = np.asarray(run(latents.decode, latents.params, to_jax(model_space)))
    assert images.dtype == np.uint8
    off = np.abs(images.astype(int) - expected)
    print(f"pixels that round otherwise: {off.sum()} of {off.size}")
    assert off.max() <= 1 and off.mean() < 1e-3


def test_extreme_log_variance_is_clipped_as_in_diffusers(to_jax):
    space = autoencoder_latents(AutoencoderKLConfig(latent_channels=3, scaling_factor=1.0), dict)
    log_variance = torch.tensor([1e3, -1e3, 0.5]).reshape(1, 3, 1, 1)
    moments = torch.cat([torch.zeros_like(log_variance), log_variance], dim=1)
    std = to_jax(DiagonalGaussianDistribution(moments).std)
    eps = jax.random.normal(jax.random.key(1), (1, 1, 1, 3))
    np.testing.assert_allclose(space.sample(to_jax(moments), jax.random.key(1)), std * eps, rtol=1e-6)


@pytest.mark.parametrize("theirs", [SD3], indirect=True)
def test_bfloat16_holds_weights_in_half_the_memory_and_stays_near(tmp_path, theirs, latents, run):
    half = load(tmp_path, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {jnp.dtype(jnp.bfloat16)}
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    exact, rough = (run(space.moments, space.params, images) for space in (latents, half))
    assert rough.dtype == jnp.float32
    assert jnp.linalg.norm(exact - rough) < 0.03 * jnp.linalg.norm(exact)
    decoded, roughly = (
        run(space.decode, space.params, exact[..., : theirs.config.latent_channels]) for space in (latents, half)
    )
    assert roughly.dtype == jnp.uint8
    assert jnp.abs(roughly.astype(int) - decoded.astype(int)).mean() < 3


def test_image_size_that_does_not_divide_is_refused(latents):
    with pytest.raises(ValueError, match=r"12 x 21.*multiples of 2"):
        latents.shape(12, 21)
