"""A new, small Stable Diffusion folder with random weights, to be pretrained."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from lisa_jax.checkpoints.clip_text import CLIP_TEXT
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.tokenizer import train_tokenizer
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.families.pixel_text import small_clip_config
from lisa_jax.families.pixels import PIXEL_CHANNELS
from lisa_jax.families.stable_diffusion import write_model_index
from lisa_jax.models.clip_text import CLIPTextModel
from lisa_jax.models.unet import UNet, UNetConfig
from lisa_jax.parallel.compiling import Announced

SCHEDULER_CLASS = "DDIMScheduler"


def write_new_base(folder: str | Path, config: ConfigDict, captions: Sequence[str]) -> None:
    """Write `model_index.json`, `unet`, `scheduler`, `tokenizer` and `text_encoder` of a base that works on pixels.

    The tokenizer is trained on the captions. The text encoder is a shallow CLIP text model with random weights that
    stay as they are: its layer norms make every word a distinct direction, which cross-attention learns to read.

    Args:
      folder: where the base goes.
      config: fields seed, unet, text, scheduler, data.image_size, as in `configs/openmoji_base.py`.
      captions: training captions.
    """
    folder = Path(folder)
    unet_key, text_key = jax.random.split(jax.random.key(config.seed))
    tokenizer = train_tokenizer(captions, config.text.vocab_size, config.text.max_length, folder / "tokenizer")
    text_config = small_clip_config(config.text, tokenizer)
    ids = jnp.zeros((1, config.text.max_length), jnp.int32)
    init = Announced(CLIPTextModel(text_config).init, "the first text encoder", position=1)
    CLIP_TEXT.write(folder / "text_encoder", text_config, init(text_key, ids)["params"])

    unet_config = small_unet_config(config)
    inputs = (
        jnp.zeros((1, config.data.image_size, config.data.image_size, PIXEL_CHANNELS)),
        jnp.zeros((1,)),
        jnp.zeros((1, 1, config.text.width)),
    )
    init = Announced(UNet(unet_config).init, "the first UNet", position=1)
    UNET.write(folder / "unet", unet_config, init(unet_key, *inputs)["params"])
    scheduler = {
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "timestep_spacing": "trailing",
    }
    write_config(
        folder / "scheduler", scheduler | dict(config.scheduler), SCHEDULER_CLASS, name="scheduler_config.json"
    )
    write_model_index(folder, SCHEDULER_CLASS, has_vae=False)


def small_unet_config(config: ConfigDict) -> UNetConfig:
    """UNet config of the fields `unet`, `text.width` and `data.image_size` of a pretraining config."""
    unet = config.unet
    down = tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in unet.cross_attention_levels)
    up = tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(unet.cross_attention_levels))
    return UNetConfig(
        sample_size=config.data.image_size,
        in_channels=PIXEL_CHANNELS,
        out_channels=PIXEL_CHANNELS,
        block_out_channels=tuple(unet.block_out_channels),
        down_block_types=down,
        up_block_types=up,
        layers_per_block=unet.layers_per_block,
        attention_head_dim=tuple(unet.heads),
        norm_num_groups=unet.norm_num_groups,
        cross_attention_dim=config.text.width,
        use_linear_projection=True,
    )
