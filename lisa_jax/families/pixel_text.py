"""The text encoders of new bases on pixels."""

from ml_collections import ConfigDict

from lisa_jax.checkpoints.tokenizer import Tokenizer
from lisa_jax.models.clip_text import CLIPTextConfig


def small_clip_config(text: ConfigDict, tokenizer: Tokenizer) -> CLIPTextConfig:
    """Config of a CLIP text model that reads a tokenizer's ids.

    Args:
      text: fields max_length, width, layers, heads of the group `text` of a pretraining config.
      tokenizer: its ids, and those of its special tokens.
    """
    return CLIPTextConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=text.width,
        intermediate_size=4 * text.width,
        num_hidden_layers=text.layers,
        num_attention_heads=text.heads,
        max_position_embeddings=text.max_length,
        projection_dim=text.width,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
    )
