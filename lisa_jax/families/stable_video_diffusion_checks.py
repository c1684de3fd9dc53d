"""Whether the parts of a Stable Video Diffusion checkpoint fit each other, and settings a side network beside them.

Configs say it: what nothing could be trained with is refused by every command before it begins.
"""

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.families.family import Setup
from lisa_jax.families.pixel_videos import patch_of
from lisa_jax.families.svd_conditioner import SVDImageEncoder
from lisa_jax.media.channels import RGB
from lisa_jax.models.temporal_unet import TemporalUNetConfig
from lisa_jax.models.temporal_vae import AutoencoderKLTemporalDecoderConfig

# Frames a second, motion, noise on the first frame.
TIME_IDS = 3


def check_context(checkpoint: Checkpoint, unet: TemporalUNetConfig, image: SVDImageEncoder) -> None:
    """Refuse an image encoder of another UNet, and a UNet that knows other numbers of a video."""
    if image.encoder.projection_dim != unet.cross_attention_dim:
        raise CheckpointError(
            f"{checkpoint.where()}: the image encoder's projection_dim is {image.encoder.projection_dim}, but the "
            f"UNet's cross_attention_dim is {unet.cross_attention_dim}."
        )
    if unet.time_ids != TIME_IDS:
        raise CheckpointError(
            f"{checkpoint.where('unet', 'config.json')}: projection_class_embeddings_input_dim is {unet.time_ids} "
            f"times addition_time_embed_dim, but Stable Video Diffusion knows {TIME_IDS} numbers of a video."
        )


def check_latents(
    checkpoint: Checkpoint, unet: TemporalUNetConfig, vae: AutoencoderKLTemporalDecoderConfig | None
) -> None:
    """Refuse a UNet of other latents than the VAE's, and a VAE of anything but pictures.

    Without a VAE latents are patches of pixels.
    """
    if vae is None:
        if patch_of(unet.out_channels) is None or unet.image_channels != unet.out_channels:
            raise CheckpointError(
                f"{checkpoint.where()} has no vae, so that its UNet is to see pixels, in squares of p x p: 6 p^2 "
                f"in_channels, 3 p^2 out_channels, but it takes {unet.in_channels} and gives {unet.out_channels}."
            )
        return
    if not vae.latent_channels == unet.out_channels == unet.image_channels:
        raise CheckpointError(
            f"{checkpoint.where()}: latents have {vae.latent_channels} channels, but the UNet takes "
            f"{unet.in_channels} and gives {unet.out_channels}: beside the noisy latents it is to see those of the "
            "first frame."
        )
    if not vae.in_channels == vae.out_channels == RGB:
        raise CheckpointError(
            f"{checkpoint.where('vae', 'config.json')}: in_channels {vae.in_channels} and out_channels "
            f"{vae.out_channels} are not supported: pictures have {RGB}."
        )


def check_setup(setup: Setup) -> None:
    """Raise ValueError for settings of side networks that are no whole copies."""
    for name in ("block_out_channels", "layers_per_block", "num_layers", "lora_rank"):
        if getattr(setup, name) is not None:
            raise ValueError(
                f"side.{name} is {getattr(setup, name)}, but beside a UNet of videos only whole copies of its encoder "
                "are supported: unset it."
            )
