"""Published Stable Diffusion 3 and 3.5 architectures as one table.

`tiny_*` have the same switches at a thousandth of the size: for smoke tests. All are without T5 (text_encoder_3), which
a base may lack: of the published sizes it alone would take 19 GB.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lisa_jax.checkpoints.clip_text import CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families.clip_presets import CLIP_G, CLIP_L, tiny_pair, write_tokenizers
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.schedulers import write_scheduler
from lisa_jax.families.sd3_text import SD3Text
from lisa_jax.families.stable_diffusion_3 import StableDiffusion3, write_model_index
from lisa_jax.families.stable_diffusion_presets import vae_config
from lisa_jax.models.clip_text import CLIPTextConfig
from lisa_jax.models.sd3_transformer import SD3TransformerConfig
from lisa_jax.models.vae import AutoencoderKLConfig


@dataclasses.dataclass(frozen=True)
class StableDiffusion3Preset:
    """Everything about a Stable Diffusion 3 checkpoint but its weights; implements `Preset`.

    Attributes:
      transformer, vae: configs of the networks.
      clip: those of both text encoders.
      scheduler: fields of `scheduler_config.json`, its class as `_class_name`.
    """

    transformer: SD3TransformerConfig
    vae: AutoencoderKLConfig
    clip: tuple[CLIPTextConfig, CLIPTextConfig]
    scheduler: Mapping

    @property
    def architecture(self) -> StableDiffusion3:
        """The networks."""
        return StableDiffusion3(self.transformer, SD3Text(*self.clip, t5=None), self.vae, self.scheduler)

    @property
    def image_size(self) -> int:
        """Side of the images that the model was made for."""
        return self.transformer.sample_size * self.vae.downsampling

    def write(self, folder: Path, seed: int) -> None:
        """Write a folder in float32 that `StableDiffusion3Pipeline.from_pretrained` loads, with random weights."""
        networks = (("transformer", SD3_TRANSFORMER, self.transformer), ("vae", VAE, self.vae))
        texts = (
            (name, CLIP_TEXT_WITH_PROJECTION, config)
            for name, config in zip(("text_encoder", "text_encoder_2"), self.clip, strict=True)
        )
        for name, component, config in (*networks, *texts):
            component.write(folder / name, config, random_tree(component.key_table(config), seed))
        write_tokenizers(folder, self.clip)
        write_scheduler(folder, self.scheduler)
        write_model_index(folder, self.scheduler["_class_name"], has_vae=True, has_t5=False)


_SCHEDULER = MappingProxyType(
    {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0}
)


_LATENTS = MappingProxyType(
    {
        "latent_channels": 16,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
)


def _full(heads: int, **fields: object) -> StableDiffusion3Preset:
    transformer = SD3TransformerConfig(
        num_layers=heads, num_attention_heads=heads, caption_projection_dim=64 * heads, **fields
    )
    vae = vae_config((128, 256, 512, 512), layers=2, groups=32, sample_size=1024, **_LATENTS)
    return StableDiffusion3Preset(transformer, vae, (CLIP_L, CLIP_G), _SCHEDULER)


def _tiny(full: StableDiffusion3Preset) -> StableDiffusion3Preset:
    transformer = dataclasses.replace(
        full.transformer,
        sample_size=8,
        num_layers=4,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=48,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=12,
        # As in the full size, where there are any, not all layers have it.
        dual_attention_layers=full.transformer.dual_attention_layers[:2],
    )
    vae = vae_config((8, 8, 16, 16), layers=1, groups=4, sample_size=64, **_LATENTS)
    return StableDiffusion3Preset(transformer, vae, tiny_pair(), _SCHEDULER)


_FULL = {
    "sd3_medium": _full(24, pos_embed_max_size=192),
    "sd35_medium": _full(24, pos_embed_max_size=384, qk_norm="rms_norm", dual_attention_layers=tuple(range(13))),
    "sd35_large": _full(38, pos_embed_max_size=192, qk_norm="rms_norm"),
}
PRESETS: Mapping[str, StableDiffusion3Preset] = MappingProxyType(
    _FULL | {f"tiny_{name}": _tiny(full) for name, full in _FULL.items()}
)
