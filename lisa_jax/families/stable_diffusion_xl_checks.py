"""Whether the text encoders of a Stable Diffusion XL checkpoint fit its UNet; the rest is as of Stable Diffusion.

Configs say it: what nothing could be trained with is refused by every command before it begins.
"""

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.families.sdxl_text import SDXLText
from lisa_jax.models.unet import UNetConfig


def check_not_refiner(checkpoint: Checkpoint, unet: UNetConfig) -> None:
    """Refuse a checkpoint of CLIP-G alone."""
    if checkpoint.has("text_encoder_2") and not checkpoint.has("text_encoder"):
        raise CheckpointError(
            f"{checkpoint.where('text_encoder', 'config.json')} is missing, as of Stable Diffusion XL's refiner, whose "
            f"UNet (cross_attention_dim {unet.cross_attention_dim}) reads one text encoder and goes over finished "
            "pictures: give the base."
        )


def check_context(checkpoint: Checkpoint, unet: UNetConfig, text: SDXLText) -> None:
    """Refuse a UNet that reads no pooled text and no sizes, and text encoders of another UNet."""
    where = checkpoint.where("unet", "config.json")
    if unet.pooled_dim is None:
        raise CheckpointError(
            f"{where}: addition_embed_type is null, but model_index.json names a pipeline of Stable Diffusion XL, "
            "whose UNets have 'text_time': they belong to different checkpoints."
        )
    for what, given, name, taken in (
        (
            "tokens of text_encoder and text_encoder_2 are",
            text.clip_l.hidden_size + text.clip_g.hidden_size,
            "cross_attention_dim",
            unet.cross_attention_dim,
        ),
        (
            "pooled text of text_encoder_2 is",
            text.clip_g.projection_dim,
            "pooled text (projection_class_embeddings_input_dim less 6 addition_time_embed_dim)",
            unet.pooled_dim,
        ),
    ):
        if given != taken:
            raise CheckpointError(f"{checkpoint.where()}: {what} {given} wide, but the UNet's {name} is {taken}.")
