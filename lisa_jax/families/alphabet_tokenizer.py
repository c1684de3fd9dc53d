"""A tokenizer folder with CLIP's layout and made-up merges, for checkpoints with random weights."""

import itertools
import json
import string
from collections.abc import Iterator
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel

from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.tokenizer_files import END, END_OF_WORD, START

SMALLEST_VOCABULARY = 514


def write_alphabet_tokenizer(folder: str | Path, vocab_size: int, pad_token: str, max_length: int = 77) -> None:
    """Write vocab.json, merges.txt and the special tokens, as transformers' `CLIPTokenizer` and ours read them.

    The vocabulary is laid out as CLIP's: 256 byte characters (`!` is 0), the same at a word's end, one token a merge,
    the two special tokens last (49406 and 49407 of 49408). Merges are strings of letters in alphabetical order, so
    that any text can be encoded, in short pieces.

    Args:
      folder: made where it is missing.
      vocab_size: number of tokens, at least 514.
      pad_token: `<|endoftext|>` in Stable Diffusion 1.x, `!` in 2.x.
      max_length: length of every tokenized caption.

    Raises:
      ValueError: vocab_size is below 514.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ValueError(f"vocab_size {vocab_size} is too small: CLIP's alphabet needs {SMALLEST_VOCABULARY}.")
    characters = sorted(ByteLevel.alphabet())
    merges = list(itertools.islice(_merges(), vocab_size - SMALLEST_VOCABULARY))
    tokens = [*characters, *(character + END_OF_WORD for character in characters), *map("".join, merges), START, END]

    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": pad_token}
    write_config(folder, special, name="special_tokens_map.json")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": max_length} | special
    write_config(folder, settings, name="tokenizer_config.json")
    folder = Path(folder)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _merges() -> Iterator[tuple[str, str]]:
    """All words of two letters, then of three, ...: each joins the word without its last letter and that letter."""
    for length in itertools.count(2):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            head = "".join(letters[:-1])
            yield head, letters[-1]
            yield head, letters[-1] + END_OF_WORD
