"""A tiny T5 tokenizer: 100 pieces of SentencePiece, the replacements of characters that they were made with, 100 gaps.

`tiny_spiece.model` was trained by SentencePiece 0.2.3 on 300 made-up captions, with T5's special ids and rules of
replacement as T5 has (white space, ligatures, full-width and decomposed letters, signs that are left out).
"""

from pathlib import Path

from transformers import T5TokenizerFast
from transformers.utils.sentencepiece_model_pb2_new import ModelProto

SPIECE = Path(__file__).with_name("tiny_spiece.model")


def tiny_t5_tokenizer() -> T5TokenizerFast:
    """The tokenizer in transformers, which saves it as `tokenizer.json`."""
    model = ModelProto.FromString(SPIECE.read_bytes())
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    pieces += [(f"<extra_id_{index}>", 0.0) for index in range(99, -1, -1)]
    charsmap = model.normalizer_spec.precompiled_charsmap
    return T5TokenizerFast(pieces, _spm_precompiled_charsmap=charsmap, model_max_length=512)
