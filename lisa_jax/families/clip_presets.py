"""The text encoders of published checkpoints, which several families share, and tiny ones for smoke tests."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lisa_jax.families.alphabet_tokenizer import write_alphabet_tokenizer
from lisa_jax.models.clip_text import CLIPTextConfig

# The public text configs carry these ids, which are not those of the tokenizer: pooling is at the highest id.
TEXT_IDS = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
CLIP_L = CLIPTextConfig(
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    hidden_act="quick_gelu",
    projection_dim=768,
    **TEXT_IDS,
)
CLIP_G = CLIPTextConfig(
    hidden_size=1280,
    intermediate_size=5120,
    num_hidden_layers=32,
    num_attention_heads=20,
    hidden_act="gelu",
    projection_dim=1280,
    **TEXT_IDS,
)
# What captions of CLIP-L and CLIP-G are padded with where a checkpoint has both.
PAD_TOKENS: Mapping[str, str] = MappingProxyType({"tokenizer": "<|endoftext|>", "tokenizer_2": "!"})


def write_tokenizers(folder: Path, clip: tuple[CLIPTextConfig, CLIPTextConfig]) -> None:
    """Write `tokenizer` and `tokenizer_2` of a checkpoint of both text encoders, with made-up merges."""
    for (name, pad_token), config in zip(PAD_TOKENS.items(), clip, strict=True):
        write_alphabet_tokenizer(folder / name, config.vocab_size, pad_token, config.max_position_embeddings)


def tiny_pair() -> tuple[CLIPTextConfig, CLIPTextConfig]:
    """CLIP-L and CLIP-G at a thousandth of the size, both 16 wide, with projections of 12 and 20."""
    return tuple(
        dataclasses.replace(
            config,
            vocab_size=1000,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=projection,
        )
        for config, projection in ((CLIP_L, 12), (CLIP_G, 20))
    )
