"""Whether the parts of a Stable Diffusion 3 checkpoint fit each other.

Configs say it: what nothing could be trained with is refused by every command before it begins.
"""

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.families.pixels import PIXEL_CHANNELS
from lisa_jax.families.sd3_text import SD3Text
from lisa_jax.models.sd3_transformer import SD3TransformerConfig
from lisa_jax.models.vae import AutoencoderKLConfig


def check_latents(checkpoint: Checkpoint, transformer: SD3TransformerConfig, vae: AutoencoderKLConfig | None) -> None:
    """Refuse a transformer of other latents than the VAE's, and a VAE that was left out."""
    channels = PIXEL_CHANNELS if vae is None else vae.latent_channels
    if channels == transformer.in_channels == transformer.predicted_channels:
        return
    if vae is None:
        raise CheckpointError(
            f"{checkpoint.where('vae', 'config.json')} is missing: the transformer gives latents of "
            f"{transformer.predicted_channels} channels, and only a base on pixels, of {PIXEL_CHANNELS}, has no VAE."
        )
    raise CheckpointError(
        f"{checkpoint.where()}: latents have {channels} channels, but the transformer takes {transformer.in_channels} "
        f"and gives {transformer.predicted_channels}: only bases without further inputs are supported."
    )


def check_context(checkpoint: Checkpoint, transformer: SD3TransformerConfig, text: SD3Text) -> None:
    """Refuse text encoders of another transformer."""
    clip, t5 = (text.clip_l, text.clip_g), text.t5
    pooled, width = sum(one.projection_dim for one in clip), sum(one.hidden_size for one in clip)
    if pooled != transformer.pooled_projection_dim:
        raise CheckpointError(
            f"{checkpoint.where()}: pooled text of text_encoder and text_encoder_2 is {pooled} wide, but the "
            f"transformer's pooled_projection_dim is {transformer.pooled_projection_dim}."
        )
    if width > transformer.joint_attention_dim:
        raise CheckpointError(
            f"{checkpoint.where()}: tokens of text_encoder and text_encoder_2 are {width} wide together, but the "
            f"transformer's joint_attention_dim is {transformer.joint_attention_dim}."
        )
    if t5 is not None and t5.d_model != transformer.joint_attention_dim:
        raise CheckpointError(
            f"{checkpoint.where()}: text_encoder_3 is {t5.d_model} wide, but the transformer's joint_attention_dim is "
            f"{transformer.joint_attention_dim}."
        )
