"""T5's tokenizer: captions to the token ids that its encoder takes, with the ids of transformers' `T5Tokenizer` (5.x).

Built on the `tokenizers` library from the folder of a Stable Diffusion 3 checkpoint: `tokenizer.json`, or
`spiece.model` where that is all there is.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.folder import Checkpoint
from lisa_jax.checkpoints.sentencepiece import CONTROL, NORMAL, UNIGRAM, UNKNOWN, parse_sentencepiece
from lisa_jax.checkpoints.tokenizer import Tokenizer, check_special_ids
from lisa_jax.checkpoints.tokenizer_settings import (
    LARGEST_FILE,
    added_token,
    added_tokens,
    content_of,
    listed_tokens,
    optional_json,
    read_settings,
)
from lisa_jax.files.regular_file import IrregularFileError, read_regular
from lisa_jax.models.config_fields import shown

PAD, END, UNKNOWN_TOKEN = "<pad>", "</s>", "<unk>"
PAD_ID, END_ID, UNKNOWN_ID = 0, 1, 2
SPIECE = "spiece.model"

_WORD_MARK = "▁"
_NAMED = {"pad_token": PAD, "eos_token": END, "unk_token": UNKNOWN_TOKEN}
# T5 has so many tokens for gaps in a text. They lie behind the pieces, the last one first.
_GAPS = [f"<extra_id_{index}>" for index in range(99, -1, -1)]
# What changes nothing beside the replacements of characters: words are split at any white space before.
_NORMALIZERS = ("Precompiled", "Strip", "Replace")
_PRE_TOKENIZERS = ("WhitespaceSplit", "Metaspace")


class _Pieces(NamedTuple):
    """pieces: text and score of each, by id; charsmap: replacements of characters; listed: special tokens by id."""

    pieces: list[tuple[str, float]]
    charsmap: bytes
    listed: dict[int, str | Mapping]


def load_t5_tokenizer(checkpoint: Checkpoint, component: str, max_length: int) -> Tokenizer:
    """Load the T5 tokenizer of a checkpoint.

    Args:
      checkpoint: where it is.
      component: its name there.
      max_length: tokens of every caption, `</s>` and padding (id 0) included: `model_max_length` is that of the
        training, and no pipeline reads it.

    Raises:
      CheckpointError: missing or broken files, or a tokenizer that is not T5's, by field and value.
    """
    settings = read_settings(checkpoint, component, ("T5Tokenizer", "T5TokenizerFast"), "T5")
    where = checkpoint.where(component)
    _check_named(settings | optional_json(checkpoint, component, "special_tokens_map.json"), where)
    contents = optional_json(checkpoint, component, "tokenizer.json")
    found = _of_json(contents, checkpoint.where(component, "tokenizer.json")) if contents else _of_spiece(where)
    listed, decoder = found.listed, settings.get("added_tokens_decoder")
    if decoder is not None:
        listed = listed_tokens(decoder, checkpoint.where(component, "tokenizer_config.json: added_tokens_decoder"))
    _check_pieces(found.pieces, where)

    backend = _backend(found, where)
    contents_of_listed = {content_of(token) for token in listed.values()}
    special = [*listed.values(), *(token for token in (*_NAMED.values(), *_GAPS) if token not in contents_of_listed)]
    backend.add_special_tokens([added_token(token) for token in special])
    check_special_ids(backend, {index: content_of(token) for index, token in listed.items()}, where)
    backend.enable_truncation(max_length)
    backend.enable_padding(pad_id=PAD_ID, pad_token=PAD, length=max_length)
    highest = max(backend.get_vocab(with_added_tokens=True).values())
    return Tokenizer(backend, max_length, highest + 1, None, END_ID, PAD_ID)


def _backend(found: _Pieces, where: str) -> tokenizers.Tokenizer:
    """The pipeline of transformers' `T5Tokenizer` around the pieces."""
    try:
        backend = tokenizers.Tokenizer(models.Unigram(found.pieces, unk_id=UNKNOWN_ID, byte_fallback=False))
        if found.charsmap:
            backend.normalizer = normalizers.Precompiled(found.charsmap)
    except Exception as error:  # the library raises nothing more special
        raise CheckpointError(f"{where}: its pieces or replacements of characters are broken ({error}).") from error
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=_WORD_MARK, prepend_scheme="always", split=True),
        ]
    )
    backend.post_processor = processors.TemplateProcessing(single=["$A", END], special_tokens=[(END, END_ID)])
    return backend


def _check_named(settings: Mapping[str, Any], where: str) -> None:
    for name, supported in _NAMED.items():
        content = content_of(settings.get(name))
        if content not in (None, supported):
            raise CheckpointError(f"{where}: {name} {shown(content)} is not supported, only T5's {supported!r} is.")


def _check_pieces(pieces: list[tuple[str, float]], where: str) -> None:
    first = [text for text, _ in pieces[: UNKNOWN_ID + 1]]
    if first != [PAD, END, UNKNOWN_TOKEN]:
        raise CheckpointError(
            f"{where}: the first pieces are {shown(first)}, but T5's are {PAD!r}, {END!r} and {UNKNOWN_TOKEN!r}."
        )
    if len({text for text, _ in pieces}) < len(pieces):
        raise CheckpointError(f"{where} holds one piece twice: fetch the folder again.")
    if not all(math.isfinite(score) for _, score in pieces):
        raise CheckpointError(f"{where}: scores of pieces must be finite: fetch the folder again.")


def _of_json(contents: Mapping[str, Any], where: str) -> _Pieces:
    model = contents.get("model")
    kind = model.get("type") if isinstance(model, Mapping) else None
    if kind != "Unigram" or model.get("unk_id") != UNKNOWN_ID or model.get("byte_fallback"):
        raise CheckpointError(
            f"{where}: model type {shown(kind)} is not supported: give T5's Unigram with unk_id {UNKNOWN_ID}, without "
            "byte_fallback."
        )
    pieces = model.get("vocab")
    if not isinstance(pieces, list) or not all(map(_is_piece, pieces)):
        raise CheckpointError(f"{where} holds no vocabulary, a list of pieces with their scores.")
    _check_steps(contents, "pre_tokenizer", "pretokenizers", _PRE_TOKENIZERS, where)
    steps = _check_steps(contents, "normalizer", "normalizers", _NORMALIZERS, where)
    charsmaps = [_decoded(step, where) for step in steps if step["type"] == "Precompiled"] or [b""]
    return _Pieces([(text, float(score)) for text, score in pieces], charsmaps[0], added_tokens(contents, where))


def _is_piece(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and type(value[1]) in (int, float)
        and abs(value[1]) < 1e9
    )


def _check_steps(
    contents: Mapping[str, Any], name: str, inner: str, supported: tuple[str, ...], where: str
) -> list[Mapping[str, Any]]:
    """The parts of a normalizer or pre-tokenizer, which is one step, a `Sequence` of them, or null."""
    whole = contents.get(name) or {"type": "Sequence", inner: []}
    steps = whole.get(inner) if isinstance(whole, Mapping) and whole.get("type") == "Sequence" else [whole]
    steps = steps if isinstance(steps, list) else [steps]
    for step in steps:
        if not isinstance(step, Mapping) or step.get("type") not in supported:
            raise CheckpointError(f"{where}: {name} {shown(step)} is not supported: T5's are {', '.join(supported)}.")
    return steps


def _decoded(step: Mapping[str, Any], where: str) -> bytes:
    try:
        return base64.b64decode(step.get("precompiled_charsmap") or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: precompiled_charsmap is not base64: fetch the folder again.") from error


def _of_spiece(folder: str) -> _Pieces:
    where = f"{folder}/{SPIECE}"
    try:
        model = parse_sentencepiece(read_regular(where, LARGEST_FILE))
    except FileNotFoundError as error:
        raise CheckpointError(f"{where} is missing: a T5 tokenizer needs it, or tokenizer.json.") from error
    except IrregularFileError as error:
        raise CheckpointError(f"{error}: fetch the folder again.") from error
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}: fetch the folder again.") from error
    if model.model_type != UNIGRAM or model.byte_fallback or not model.marks_words:
        raise CheckpointError(
            f"{where}: model_type {model.model_type} is not supported: give T5's Unigram ({UNIGRAM}) that marks words, "
            "without byte_fallback."
        )
    unknown_kinds = sorted(set(model.kinds) - {NORMAL, UNKNOWN, CONTROL})
    if unknown_kinds:
        raise CheckpointError(f"{where}: pieces of type {unknown_kinds[0]} are not supported: T5 has none.")
    known = {text for text, _ in model.pieces}
    gaps = [(gap, 0.0) for gap in _GAPS if gap not in known]
    return _Pieces([*model.pieces, *gaps], model.charsmap, {})
