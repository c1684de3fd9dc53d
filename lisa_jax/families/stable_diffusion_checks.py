"""Whether the parts of a Stable Diffusion checkpoint fit each other, and a side network beside them.

Configs and the tokenizer say it: what nothing could be trained with is refused by every command before it begins.
"""

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.checkpoints.tokenizer import Tokenizer
from lisa_jax.families.pixels import PIXEL_CHANNELS
from lisa_jax.models.clip_text import CLIPTextConfig
from lisa_jax.models.controlnet import controlnet_config_from_unet
from lisa_jax.models.unet import UNetConfig
from lisa_jax.models.vae import AutoencoderKLConfig

# Channels of a UNet's input, where they are not those of its latents -> whose they are.
_WIDER_INPUTS = {
    5: "Stable Diffusion with depth",
    7: "the upscaler",
    8: "InstructPix2Pix",
    9: "inpainting",
}


def check_latents(checkpoint: Checkpoint, unet: UNetConfig, vae: AutoencoderKLConfig | None) -> None:
    """Refuse a UNet that takes more than latents (inpainting, depth) or other ones, and a VAE that was left out."""
    if vae is None and unet.out_channels != PIXEL_CHANNELS:
        raise CheckpointError(
            f"{checkpoint.where('vae', 'config.json')} is missing: the UNet gives latents of {unet.out_channels} "
            f"channels, and only a base on pixels, of {PIXEL_CHANNELS}, has no VAE."
        )
    channels = PIXEL_CHANNELS if vae is None else vae.latent_channels
    if not channels == unet.in_channels == unet.out_channels:
        wider = _WIDER_INPUTS.get(unet.in_channels)
        raise CheckpointError(
            f"{checkpoint.where()}: latents have {channels} channels, but the UNet takes {unet.in_channels} "
            f"{f'(as those of {wider}) ' if wider else ''}and gives {unet.out_channels}: only bases without further "
            "inputs are supported."
        )
    if vae is not None and not vae.in_channels == vae.out_channels == PIXEL_CHANNELS:
        raise CheckpointError(
            f"{checkpoint.where('vae', 'config.json')}: in_channels {vae.in_channels} and out_channels "
            f"{vae.out_channels} are not supported: pictures have {PIXEL_CHANNELS}."
        )


def check_tokens(checkpoint: Checkpoint, tokenizer: Tokenizer, vocab_size: int, longest: int, ending: str = "") -> None:
    """Refuse a tokenizer of another text encoder.

    Args:
      checkpoint: where both are.
      tokenizer: that of `tokenizer<ending>`.
      vocab_size: ids that the text encoder knows.
      longest: tokens that it takes at most.
      ending: of the names of both in a checkpoint with several.
    """
    for what, given, taken in (
        ("has ids up to", tokenizer.vocab_size - 1, vocab_size - 1),
        ("pads captions to", tokenizer.max_length, longest),
    ):
        if given > taken:
            raise CheckpointError(
                f"{checkpoint.where(f'tokenizer{ending}')} {what} {given:,}, but the text encoder takes "
                f"{taken:,} at most: they belong to different checkpoints."
            )


def check_context(checkpoint: Checkpoint, unet: UNetConfig, text: CLIPTextConfig) -> None:
    """Refuse a text encoder of another UNet, and a UNet that asks for more than its tokens."""
    if unet.addition_embed_type is not None:
        index = "model_index.json"
        said = f"{index} names another pipeline" if checkpoint.has_config(name=index) else f"there is no {index}"
        raise CheckpointError(
            f"{checkpoint.where('unet', 'config.json')}: addition_embed_type {unet.addition_embed_type!r} is of Stable "
            f"Diffusion XL, but {said}: give one that names StableDiffusionXLPipeline."
        )
    if text.hidden_size != unet.cross_attention_dim:
        raise CheckpointError(
            f"{checkpoint.where()}: the text encoder is {text.hidden_size} wide, but the UNet's cross_attention_dim is "
            f"{unet.cross_attention_dim}."
        )


def check_side_network(checkpoint: Checkpoint, unet: UNetConfig) -> None:
    """Refuse a UNet that diffusers' ControlNet cannot copy, as one without a mid block."""
    try:
        controlnet_config_from_unet(unet)
    except ValueError as error:
        raise CheckpointError(
            f"{checkpoint.where('unet', 'config.json')}: {error} No ControlNet fits this UNet: take another base."
        ) from error
