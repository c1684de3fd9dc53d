"""Configs as the shapes of published sizes tell them."""

import dataclasses

import pytest

from lisa_jax.checkpoints.clip_text import CLIP_TEXT, CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.original_text import clip_fields, openclip_fields
from lisa_jax.checkpoints.original_unet import unet_fields
from lisa_jax.checkpoints.original_vae import vae_fields
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.presets import preset_of
from lisa_jax.models.vae import AutoencoderKLConfig


def told(component, fields, config):
    """The config that the shapes of a network of this config tell."""
    table = component.key_table(config)
    return component.config_file.parse(
        fields({component.prefix + key: entry.torch_shape for key, entry in table.items()})
    )


def test_shapes_tell_the_configs_of_stable_diffusion_2():
    preset = preset_of("sd21")
    # No weights depend on the sides, nor those that are read on the projection.
    assert told(UNET, unet_fields, preset.unet) == dataclasses.replace(preset.unet, sample_size=None)
    assert told(VAE, vae_fields, preset.vae) == dataclasses.replace(
        preset.vae, sample_size=AutoencoderKLConfig.sample_size
    )
    assert told(CLIP_TEXT, openclip_fields, preset.text) == dataclasses.replace(preset.text, projection_dim=512)


# Quicker beside it: ControlNets of small sizes go both ways in tests/parity/test_single_file_xl.py.
@pytest.mark.slow
def test_shapes_tell_the_configs_of_stable_diffusion_xl():
    preset = preset_of("sdxl")
    assert told(UNET, unet_fields, preset.unet) == dataclasses.replace(preset.unet, sample_size=None)
    clip_l, clip_g = preset.clip
    # Nobody reads the first one's projection.
    assert told(CLIP_TEXT, clip_fields, clip_l) == dataclasses.replace(clip_l, projection_dim=512)
    assert told(CLIP_TEXT_WITH_PROJECTION, openclip_fields, clip_g) == clip_g
