"""CLIP's byte-pair tokenizer: captions to the token ids that a text encoder takes.

Built on the `tokenizers` library from the `tokenizer` folder of a Stable Diffusion checkpoint, with the ids of
transformers' `CLIPTokenizer` (5.x). A folder of its own can be trained from captions for models trained from scratch.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors, trainers

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.tokenizer_files import (
    END,
    END_OF_WORD,
    NAMED_TOKENS,
    START,
    TokenizerFiles,
    read_tokenizer_files,
)
from lisa_jax.checkpoints.tokenizer_settings import added_token

CLIP_MAX_LENGTH = 77

_SPLIT = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_MERGES_HEADER = "#version: 0.2"
# transformers writes 1e30 for "no limit".
_NO_LIMIT = 1_000_000


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Captions -> ids, every row `<|startoftext|> ... <|endoftext|> pad pad`, cut to `max_length`.

    vocab_size counts added tokens too: every id is below it, so the text encoder must have at least as many. Where
    nothing begins a row, as with T5, bos_id is None.
    """

    backend: tokenizers.Tokenizer
    max_length: int
    vocab_size: int
    bos_id: int | None
    eos_id: int
    pad_id: int

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        """Tokenize.

        Returns:
          int32 (len(captions), max_length).
        Raises:
          TypeError: one string instead of a list of them.
        """
        if isinstance(captions, str):
            raise TypeError("captions must be a list of strings, not one string: wrap it in a list.")
        ids = [encoding.ids for encoding in self.backend.encode_batch(list(captions))]
        return np.asarray(ids, np.int32).reshape(-1, self.max_length)

    def cuts(self, captions: Sequence[str]) -> list[bool]:
        """Whether each caption has more tokens than fit, so that its end is left out."""
        return [bool(encoding.overflowing) for encoding in self.backend.encode_batch(list(captions))]


def load_tokenizer(checkpoint: Checkpoint, component: str = "") -> Tokenizer:
    """Load the tokenizer of a checkpoint.

    Reads `tokenizer.json`, or `vocab.json` and `merges.txt`; then special tokens and `model_max_length` (77 where
    absent) from `tokenizer_config.json`, with `special_tokens_map.json` over it, as transformers does: Stable Diffusion
    2.x says `<|endoftext|>` in the one and means the `!` of the other.

    Note that a special token is one wherever it stands: with the padding token `!`, each `!` of a caption becomes the
    padding id. The published encoders see the same from transformers.

    Raises:
      CheckpointError: missing or broken files, or a tokenizer that is not CLIP's, by field and value.
    """
    files = read_tokenizer_files(checkpoint, component)
    backend = _clip_backend(_model(files, checkpoint.where(component)))
    named = {name: added_token(token) for name, token in files.named.items()}
    # How a string is matched: as listed, else as the last of the names that claim it says (transformers' rule).
    listed = {index: added_token(token) for index, token in files.listed.items()}
    contents = {token.content for token in listed.values()}
    others = [token for token in named.values() if token.content not in contents]
    special = {token.content: token for token in [*listed.values(), *others]}
    backend.add_special_tokens(list(special.values()))
    check_special_ids(backend, {index: token.content for index, token in listed.items()}, checkpoint.where(component))
    ids = {name: backend.token_to_id(token.content) for name, token in named.items()}
    max_length = files.max_length or CLIP_MAX_LENGTH
    max_length = int(max_length) if max_length < _NO_LIMIT else CLIP_MAX_LENGTH

    backend.post_processor = processors.RobertaProcessing(
        (named["eos_token"].content, ids["eos_token"]),
        (named["bos_token"].content, ids["bos_token"]),
        trim_offsets=False,
        add_prefix_space=False,
    )
    backend.enable_truncation(max_length)
    backend.enable_padding(pad_id=ids["pad_token"], pad_token=named["pad_token"].content, length=max_length)
    highest = max(backend.get_vocab(with_added_tokens=True).values())
    return Tokenizer(backend, max_length, highest + 1, ids["bos_token"], ids["eos_token"], ids["pad_token"])


def check_special_ids(backend: tokenizers.Tokenizer, listed: Mapping[int, str], where: str) -> None:
    """Refuse special tokens whose ids are others than the files list, or those of other tokens."""
    for index, content in listed.items():
        if backend.token_to_id(content) != index:
            raise CheckpointError(
                f"{where} lists {content!r} as token {index}, but by its vocabulary it is "
                f"{backend.token_to_id(content)}: load and save the folder with transformers 5."
            )
    ids = list(backend.get_vocab(with_added_tokens=True).values())
    if len(set(ids)) < len(ids):
        raise CheckpointError(f"{where}: a special token gets the id of another: number the vocabulary without gaps.")


def train_tokenizer(captions: Iterable[str], vocab_size: int, max_length: int, folder: str | Path) -> Tokenizer:
    """Train a CLIP-style tokenizer and write its folder, which `load_tokenizer` and transformers read alike.

    The vocabulary is laid out as CLIP's: 256 byte characters, the same at a word's end, one token a merge, the two
    special tokens. Any text can be encoded. The same captions give the same files.

    Args:
      captions: training text.
      vocab_size: size to reach, at least 514; a small corpus may run out of pairs to merge before.
      max_length: length of every tokenized caption, `<|startoftext|>` and `<|endoftext|>` included.
      folder: gets vocab.json, merges.txt, special_tokens_map.json, tokenizer_config.json.

    Raises:
      ValueError: vocab_size below 514 or max_length below 2.
    """
    # Printable stand-ins of the 256 bytes. CLIP lists printable bytes first; the others stand from U+0100 on.
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet = characters + [character + END_OF_WORD for character in characters]
    if vocab_size < len(alphabet) + 2:
        raise ValueError(f"vocab_size {vocab_size} is too small: CLIP's alphabet alone needs {len(alphabet) + 2}.")
    if max_length < 2:
        raise ValueError(f"max_length {max_length} is too small: the two special tokens need 2.")

    backend = _clip_backend(models.BPE(end_of_word_suffix=END_OF_WORD))
    # Naming the alphabet fixes its ids; otherwise characters at a word's end are numbered in the random order of a
    # hash map, and pairs of equal count would be merged in another order every time.
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2, special_tokens=alphabet, end_of_word_suffix=END_OF_WORD, show_progress=False
    )
    backend.train_from_iterator(captions, trainer)
    model = json.loads(backend.to_str())["model"]
    tokens = [*sorted(model["vocab"], key=model["vocab"].get), START, END]

    folder = Path(folder)
    write_config(folder, NAMED_TOKENS, name="special_tokens_map.json")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": max_length} | NAMED_TOKENS
    write_config(folder, settings, name="tokenizer_config.json")
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    merges = "\n".join([_MERGES_HEADER, *(" ".join(pair) for pair in model["merges"])])
    (folder / "merges.txt").write_text(merges + "\n", encoding="utf-8")
    return load_tokenizer(open_checkpoint(folder))


def _clip_backend(model: models.BPE) -> tokenizers.Tokenizer:
    """CLIP's text cleaning and word splitting around a byte-pair model."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return backend


def _model(files: TokenizerFiles, where: str) -> models.BPE:
    try:
        return models.BPE(files.vocab, files.merges, unk_token=END, end_of_word_suffix=END_OF_WORD, fuse_unk=False)
    except Exception as error:  # the library raises nothing more special
        raise CheckpointError(f"{where}: vocabulary and merges do not fit each other ({error}).") from error
