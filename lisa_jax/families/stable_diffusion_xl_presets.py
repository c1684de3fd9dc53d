"""The published Stable Diffusion XL architecture, and one with the same switches at a thousandth of the size."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lisa_jax.checkpoints.clip_text import CLIP_TEXT, CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.clip_presets import CLIP_G, CLIP_L, tiny_pair, write_tokenizers
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.schedulers import write_scheduler
from lisa_jax.families.sdxl_text import SDXLText
from lisa_jax.families.stable_diffusion_presets import vae_config
from lisa_jax.families.stable_diffusion_xl import StableDiffusionXL
from lisa_jax.models.clip_text import CLIPTextConfig
from lisa_jax.models.unet import UNetConfig
from lisa_jax.models.vae import AutoencoderKLConfig


@dataclasses.dataclass(frozen=True)
class StableDiffusionXLPreset:
    """Everything about a Stable Diffusion XL checkpoint but its weights; implements `Preset`.

    Attributes:
      unet, vae: configs of the networks.
      clip: those of both text encoders.
      scheduler: fields of `scheduler_config.json`, its class as `_class_name`.
    """

    unet: UNetConfig
    vae: AutoencoderKLConfig
    clip: tuple[CLIPTextConfig, CLIPTextConfig]
    scheduler: Mapping

    @property
    def architecture(self) -> StableDiffusionXL:
        """The networks."""
        return StableDiffusionXL(self.unet, SDXLText(*self.clip), self.vae, self.scheduler)

    @property
    def image_size(self) -> int:
        """Side of the images that the model was made for."""
        return self.unet.sample_size * self.vae.downsampling

    def write(self, folder: Path, seed: int) -> None:
        """Write a folder in float32 that `StableDiffusionXLPipeline.from_pretrained` loads, with random weights."""
        clip_l, clip_g = self.clip
        for name, component, config in (
            ("unet", UNET, self.unet),
            ("vae", VAE, self.vae),
            ("text_encoder", CLIP_TEXT, clip_l),
            ("text_encoder_2", CLIP_TEXT_WITH_PROJECTION, clip_g),
        ):
            component.write(folder / name, config, random_tree(component.key_table(config), seed))
        write_tokenizers(folder, self.clip)
        write_scheduler(folder, self.scheduler)
        self.architecture.write_index(folder)


_SDXL = StableDiffusionXLPreset(
    unet=UNetConfig(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ),
    vae=vae_config((128, 256, 512, 512), layers=2, groups=32, sample_size=1024, scaling_factor=0.13025),
    clip=(CLIP_L, CLIP_G),
    scheduler=MappingProxyType(
        {
            "_class_name": "EulerDiscreteScheduler",
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "interpolation_type": "linear",
            "num_train_timesteps": 1000,
            "prediction_type": "epsilon",
            "steps_offset": 1,
            "timestep_spacing": "leading",
            "trained_betas": None,
            "use_karras_sigmas": False,
        }
    ),
)
_TINY = StableDiffusionXLPreset(
    unet=dataclasses.replace(
        _SDXL.unet,
        sample_size=8,
        block_out_channels=(16, 32, 32),
        norm_num_groups=8,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=32,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    ),
    vae=vae_config((8, 8, 16, 16), layers=1, groups=4, sample_size=64, scaling_factor=0.13025),
    clip=tiny_pair(),
    scheduler=_SDXL.scheduler,
)
PRESETS: Mapping[str, StableDiffusionXLPreset] = MappingProxyType({"sdxl": _SDXL, "tiny_sdxl": _TINY})
