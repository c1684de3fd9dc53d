"""Files of a CLIP tokenizer, checked: vocabulary, merges, special tokens and settings, whichever version wrote them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.tokenizer_settings import (
    LARGEST_FILE,
    added_tokens,
    check_token,
    listed_tokens,
    optional_json,
    read_json,
    read_settings,
)
from lisa_jax.files.regular_file import IrregularFileError, read_regular
from lisa_jax.models.config_fields import shown

START = "<|startoftext|>"
END = "<|endoftext|>"
END_OF_WORD = "</w>"
NAMED_TOKENS = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}

_CLASSES = ("CLIPTokenizer", "CLIPTokenizerFast")
# CLIP's vocabulary has 49,408.
_MOST_TOKENS = 2**20


class TokenizerFiles(NamedTuple):
    """What the files of a tokenizer say.

    vocab: token -> id; merges: pairs of tokens; listed: id -> special token as the files list them; named: `bos_token`
    and the others -> special token, each a string or a mapping with its `content` and how it is matched;
    max_length: `model_max_length` as the file has it, None where there is none.
    """

    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    listed: dict[int, str | Mapping]
    named: dict[str, str | Mapping]
    max_length: float | None


def read_tokenizer_files(checkpoint: Checkpoint, component: str) -> TokenizerFiles:
    """Read the files of a tokenizer, see `load_tokenizer` for which.

    Raises:
      CheckpointError: missing or broken files, or a tokenizer that is not CLIP's, by file, field and value.
    """
    settings = read_settings(checkpoint, component, _CLASSES, "CLIP")
    vocab, merges, listed = _read_model(checkpoint, component)
    decoder = settings.get("added_tokens_decoder")
    if decoder is None:
        settings = settings | optional_json(checkpoint, component, "special_tokens_map.json")
    else:
        listed = listed_tokens(decoder, checkpoint.where(component, "tokenizer_config.json: added_tokens_decoder"))
    named = {name: settings.get(name) or default for name, default in NAMED_TOKENS.items()}
    for name, token in named.items():
        check_token(token, f"{checkpoint.where(component)}: {name}")
    max_length = settings.get("model_max_length")
    if max_length is not None and (type(max_length) not in (int, float) or not max_length >= 2):
        raise CheckpointError(
            f"{checkpoint.where(component)}: model_max_length {shown(max_length)} is no number of tokens from 2 on."
        )
    return TokenizerFiles(vocab, merges, listed, named, max_length)


def _read_model(checkpoint: Checkpoint, component: str) -> tuple[dict, list, dict]:
    """Vocabulary, merges, and the added tokens that `tokenizer.json` lists, by id."""
    contents, listed = optional_json(checkpoint, component, "tokenizer.json"), {}
    if contents:
        where = checkpoint.where(component, "tokenizer.json")
        model = contents.get("model")
        if not isinstance(model, Mapping):
            raise CheckpointError(f"{where} has no model: fetch the folder again.")
        if model.get("type") != "BPE" or model.get("end_of_word_suffix") != END_OF_WORD:
            raise CheckpointError(
                f"{where}: model type {shown(model.get('type'))} with end_of_word_suffix "
                f"{shown(model.get('end_of_word_suffix'))} is not supported: give CLIP's BPE with {END_OF_WORD!r}."
            )
        listed = added_tokens(contents, where)
        vocab, merges = model.get("vocab"), _merges(model.get("merges"), where)
    else:
        where = checkpoint.where(component, "vocab.json")
        vocab = read_json(checkpoint, component, "vocab.json")
        merges = _merges_of_text(checkpoint, component)
    _check_vocabulary(vocab, where)
    _check_merges(vocab, merges, where if contents else checkpoint.where(component, "merges.txt"))
    further = {} if contents else optional_json(checkpoint, component, "added_tokens.json")
    unknown = sorted(further.keys() - vocab.keys())
    if unknown:
        raise CheckpointError(
            f"{checkpoint.where(component, 'added_tokens.json')} adds {shown(unknown[0])} to the vocabulary, which is "
            "not supported: load and save the folder with transformers 5, which writes tokenizer.json."
        )
    return vocab, merges, listed


def _check_vocabulary(vocab: Any, where: str) -> None:
    if not isinstance(vocab, Mapping) or not all(type(index) is int for index in vocab.values()):
        raise CheckpointError(f"{where} holds no vocabulary, whose tokens have whole numbers as ids.")
    if len(set(vocab.values())) < len(vocab) or not all(0 <= index < _MOST_TOKENS for index in vocab.values()):
        raise CheckpointError(f"{where}: ids of the vocabulary must be from 0 to {_MOST_TOKENS - 1:,}, each once.")
    for token in (START, END):
        if token not in vocab:
            raise CheckpointError(f"{where}: the vocabulary has no {token!r}: it is not a CLIP tokenizer.")


def _check_merges(vocab: Mapping[str, int], merges: list[tuple[str, str]], where: str) -> None:
    """Refuse merges that were cut off: CLIP's vocabulary has one token a merge, before the special ones."""
    made = {"".join(pair) for pair in merges}
    for token, index in vocab.items():
        if index < vocab[START] and len(token.removesuffix(END_OF_WORD)) > 1 and token not in made:
            raise CheckpointError(
                f"{where} has {len(merges):,} merges, none of which makes {shown(token)} of the vocabulary: it is cut "
                "off, fetch the folder again."
            )


def _merges_of_text(checkpoint: Checkpoint, component: str) -> list[tuple[str, str]]:
    where = checkpoint.where(component, "merges.txt")
    try:
        text = read_regular(where, LARGEST_FILE).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise CheckpointError(f"{where} is missing: a CLIP tokenizer needs it beside vocab.json.") from error
    except IrregularFileError as error:
        raise CheckpointError(f"{error}: fetch the folder again.") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{where} is not UTF-8 (byte {error.start}): fetch the folder again.") from error
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return _merges((line for line in lines if line and not line.startswith("#version")), where)


def _merges(merges: Any, where: str) -> list[tuple[str, str]]:
    """Pairs of tokens; older files write a pair as one string."""
    pairs = []
    for merge in merges if isinstance(merges, Iterable) and not isinstance(merges, str | Mapping) else [merges]:
        pair = tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) if isinstance(merge, list) else ()
        if len(pair) != 2 or not all(isinstance(token, str) for token in pair):
            raise CheckpointError(f"{where}: the merge {shown(merge)} is no pair of tokens.")
        pairs.append(pair)
    return pairs
