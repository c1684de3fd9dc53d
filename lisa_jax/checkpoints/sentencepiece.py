"""SentencePiece's own files (`spiece.model`), read without its library.

Kudo & Richardson, "SentencePiece", arXiv 1808.06226. Such a file is a protocol buffer; the fields that decide how a
text is split are described here, by the numbers of `sentencepiece_model.proto`, and all others are passed over.
"""

import functools
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "lisa_jax.sentencepiece"
_TYPES = FieldDescriptorProto
# Message -> field -> number, type, default. A type that is a string is another message; of pieces there are many.
_MESSAGES: dict[str, dict[str, tuple[int, Any, str | None]]] = {
    "Piece": {
        "piece": (1, _TYPES.TYPE_STRING, None),
        "score": (2, _TYPES.TYPE_FLOAT, None),
        "type": (3, _TYPES.TYPE_INT32, "1"),
    },
    "Trainer": {
        "model_type": (3, _TYPES.TYPE_INT32, "1"),
        "byte_fallback": (35, _TYPES.TYPE_BOOL, None),
    },
    "Normalizer": {
        "precompiled_charsmap": (2, _TYPES.TYPE_BYTES, None),
        "add_dummy_prefix": (3, _TYPES.TYPE_BOOL, "true"),
        "escape_whitespaces": (5, _TYPES.TYPE_BOOL, "true"),
    },
    "Model": {
        "pieces": (1, "Piece", None),
        "trainer": (2, "Trainer", None),
        "normalizer": (3, "Normalizer", None),
    },
}
UNIGRAM = 1
# Of a piece: text, what stands for unknown characters, and tokens that no text gives.
NORMAL, UNKNOWN, CONTROL = 1, 2, 3


class SentencePieceModel(NamedTuple):
    """What a `spiece.model` says.

    pieces: text and score of each, by id; kinds: of each, `NORMAL` and so on; charsmap: the compiled replacements of
    characters, b"" where there are none; model_type: `UNIGRAM` or another; byte_fallback: whether unknown characters
    become bytes; marks_words: whether a space becomes `▁` and the first word gets one, too.
    """

    pieces: list[tuple[str, float]]
    kinds: list[int]
    charsmap: bytes
    model_type: int
    byte_fallback: bool
    marks_words: bool


def parse_sentencepiece(data: bytes) -> SentencePieceModel:
    """Read the bytes of a `spiece.model`; raises ValueError where they are no such file."""
    try:
        model = _model_class().FromString(data)
        pieces = [(piece.piece, piece.score) for piece in model.pieces]
    except (DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no SentencePiece model ({error})") from error
    return SentencePieceModel(
        pieces,
        [piece.type for piece in model.pieces],
        model.normalizer.precompiled_charsmap,
        model.trainer.model_type,
        model.trainer.byte_fallback,
        model.normalizer.add_dummy_prefix and model.normalizer.escape_whitespaces,
    )


@functools.cache
def _model_class() -> type[Message]:
    file = FileDescriptorProto(name="lisa_jax/sentencepiece.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind, default) in fields.items():
            label = _TYPES.LABEL_REPEATED if kind == "Piece" else _TYPES.LABEL_OPTIONAL
            field = described.field.add(name=name, number=number, label=label, default_value=default)
            if isinstance(kind, str):
                field.type, field.type_name = _TYPES.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    # A pool of its own: the usual one may hold the same description of another library.
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
