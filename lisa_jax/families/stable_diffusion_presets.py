"""Published Stable Diffusion architectures as one table.

`sd15` is Stable Diffusion 1.5, `sd21` the base model of 2.1 (512 px, epsilon), `sd21_v` its 768 px model with
v-prediction. `tiny_*` have the same switches, levels and hooks at a thousandth of the size: for smoke tests.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.alphabet_tokenizer import write_alphabet_tokenizer
from lisa_jax.families.clip_presets import CLIP_L, TEXT_IDS
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.schedulers import write_scheduler
from lisa_jax.families.stable_diffusion import StableDiffusion, write_model_index
from lisa_jax.models.clip_text import CLIPTextConfig
from lisa_jax.models.controlnet import ControlNetConfig, controlnet_config_from_unet
from lisa_jax.models.unet import UNetConfig
from lisa_jax.models.vae import DOWN_BLOCK, UP_BLOCK, AutoencoderKLConfig


@dataclasses.dataclass(frozen=True)
class StableDiffusionPreset:
    """Everything about a Stable Diffusion checkpoint but its weights; implements `Preset`.

    Attributes:
      unet, vae, text: configs of the networks.
      scheduler: fields of `scheduler_config.json`, its class as `_class_name`.
      pad_token: what captions are padded with.
      condition_channels: widths of the condition's encoder in a ControlNet.
    """

    unet: UNetConfig
    vae: AutoencoderKLConfig
    text: CLIPTextConfig
    scheduler: Mapping
    pad_token: str
    condition_channels: tuple[int, ...] = (16, 32, 96, 256)

    @property
    def architecture(self) -> StableDiffusion:
        """The networks."""
        return StableDiffusion(self.unet, self.text, self.vae, self.scheduler)

    @property
    def controlnet(self) -> ControlNetConfig:
        """A ControlNet beside the UNet."""
        return controlnet_config_from_unet(self.unet, self.condition_channels)

    @property
    def image_size(self) -> int:
        """Side of the images that the model was made for."""
        return self.unet.sample_size * self.vae.downsampling

    def write(self, folder: Path, seed: int) -> None:
        """Write a folder in float32 that `StableDiffusionPipeline.from_pretrained` loads, with random weights."""
        for name, component, config in (
            ("unet", UNET, self.unet),
            ("vae", VAE, self.vae),
            ("text_encoder", CLIP_TEXT, self.text),
        ):
            component.write(folder / name, config, random_tree(component.key_table(config), seed))
        write_alphabet_tokenizer(
            folder / "tokenizer", self.text.vocab_size, self.pad_token, self.text.max_position_embeddings
        )
        write_scheduler(folder, self.scheduler)
        write_model_index(folder, self.scheduler["_class_name"], has_vae=True)


_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
_STEPS = {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}
_EPSILON = MappingProxyType(
    {"_class_name": "PNDMScheduler", "prediction_type": "epsilon", "trained_betas": None} | _BETAS | _STEPS
)
_V = MappingProxyType(
    {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction", "trained_betas": None} | _BETAS | _STEPS
)

# OpenCLIP's ViT-H without its last layer: 23 of 24, so that its last hidden state is the penultimate one.
_CLIP_H = CLIPTextConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=23,
    num_attention_heads=16,
    hidden_act="gelu",
    projection_dim=512,
    **TEXT_IDS,
)
_TINY_TEXT = CLIPTextConfig(
    vocab_size=1000,
    hidden_size=32,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    projection_dim=32,
    **TEXT_IDS,
)


def vae_config(
    channels: tuple[int, ...], layers: int, groups: int, sample_size: int, **latents: Any
) -> AutoencoderKLConfig:
    """An autoencoder of so many channels a level, finest first; `latents`: fields in which they are not the usual."""
    return AutoencoderKLConfig(
        block_out_channels=channels,
        down_block_types=(DOWN_BLOCK,) * len(channels),
        up_block_types=(UP_BLOCK,) * len(channels),
        layers_per_block=layers,
        norm_num_groups=groups,
        sample_size=sample_size,
        **latents,
    )


_SD15 = StableDiffusionPreset(
    unet=UNetConfig(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
    vae=vae_config((128, 256, 512, 512), layers=2, groups=32, sample_size=512),
    text=CLIP_L,
    scheduler=_EPSILON,
    pad_token="<|endoftext|>",
)
_SD21 = StableDiffusionPreset(
    unet=UNetConfig(
        sample_size=64, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
    ),
    vae=vae_config((128, 256, 512, 512), layers=2, groups=32, sample_size=768),
    text=_CLIP_H,
    scheduler=_EPSILON,
    pad_token="!",
)
_SD21_V = dataclasses.replace(
    _SD21, unet=dataclasses.replace(_SD21.unet, sample_size=96, upcast_attention=True), scheduler=_V
)


def _tiny(full: StableDiffusionPreset, heads: int | tuple[int, ...]) -> StableDiffusionPreset:
    unet = dataclasses.replace(
        full.unet,
        sample_size=8,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        cross_attention_dim=_TINY_TEXT.hidden_size,
        attention_head_dim=heads,
    )
    return StableDiffusionPreset(
        unet=unet,
        vae=vae_config((8, 8, 16, 16), layers=1, groups=4, sample_size=64),
        text=dataclasses.replace(_TINY_TEXT, hidden_act=full.text.hidden_act),
        scheduler=full.scheduler,
        pad_token=full.pad_token,
        condition_channels=(4, 8, 8, 16),
    )


PRESETS: Mapping[str, StableDiffusionPreset] = MappingProxyType(
    {
        "sd15": _SD15,
        "sd21": _SD21,
        "sd21_v": _SD21_V,
        "tiny_sd15": _tiny(_SD15, heads=4),
        "tiny_sd21": _tiny(_SD21, heads=(2, 4, 4, 4)),
        "tiny_sd21_v": _tiny(_SD21_V, heads=(2, 4, 4, 4)),
    }
)
