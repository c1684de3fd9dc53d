"""Our T5 tokenizer gives the ids of transformers' T5Tokenizer, whatever files the folder holds."""

import json
import random
import shutil

import numpy as np
import pytest
from tiny_t5_tokenizer import SPIECE, tiny_t5_tokenizer
from transformers import T5TokenizerFast
from transformers.utils.sentencepiece_model_pb2_new import ModelProto

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.t5_tokenizer import load_t5_tokenizer

LENGTH = 24
CAPTIONS = [
    "",
    " ",
    "a photo of a red cat",
    "  A  PHOTO\tof\n a\u00a0\u3000 Cat ",
    "cafe\u0301 café naïve straße \u212b ﬁeld \uff21\uff22\uff41 wait… ½",
    "zero\u200bwidth soft\u00adhyphen \ufeffbom \u2028line \x00nul \x7f",
    "日本語 の 猫, кошка, 😀 👩‍👩‍👧‍👦 ❤️",
    "▁ ▁▁a a▁b",
    "inside </s> and <pad> and <unk>, gaps<extra_id_0>of <extra_id_99> text <extra_id_100>",
    "long " * 60,
    "x" * 100,
]


def _random_captions(n: int) -> list[str]:
    rng = random.Random(0)
    alphabet = "aeorst bcd'! \t1é😀ßﬁ\uff21\u0301.\u00a0▁…"
    return ["".join(rng.choices(alphabet, k=rng.randrange(50))) for _ in range(n)]


def _as_published(folder):
    """Settings as Stable Diffusion 3 publishes them; gaps take the spaces around them."""
    contents = json.loads((folder / "tokenizer.json").read_text())
    decoder = {}
    for token in contents["added_tokens"]:
        takes_spaces = token["content"].startswith("<extra")
        decoder[str(token.pop("id"))] = token | {"lstrip": takes_spaces, "rstrip": takes_spaces}
    gaps = [f"<extra_id_{index}>" for index in range(100)]
    settings = {"add_prefix_space": True, "added_tokens_decoder": decoder, "additional_special_tokens": gaps}
    settings |= {"eos_token": "</s>", "extra_ids": 100, "legacy": True, "model_max_length": 512, "pad_token": "<pad>"}
    settings |= {"tokenizer_class": "T5Tokenizer", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    matching = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    named = {"eos_token": {"content": "</s>"} | matching, "pad_token": {"content": "<pad>"} | matching}
    (folder / "special_tokens_map.json").write_text(json.dumps(named | {"additional_special_tokens": gaps}))
    shutil.copy(SPIECE, folder / "spiece.model")


def _as_converted_by_transformers_4(folder):
    """Steps as its converter wrote them, which split no words at white space but make one space of several."""
    contents = json.loads((folder / "tokenizer.json").read_text())
    contents["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            contents["normalizer"],
            {"type": "Strip", "strip_left": False, "strip_right": True},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
        ],
    }
    contents["pre_tokenizer"] = contents["pre_tokenizer"]["pretokenizers"][1]
    (folder / "tokenizer.json").write_text(json.dumps(contents))


def _tokenizer_json_alone(folder):
    (folder / "tokenizer_config.json").unlink()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5_tokenizer")
    tiny_t5_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "tokenizer_3")


def _ids(tokenizer: T5TokenizerFast, captions: list[str]) -> np.ndarray:
    """As Stable Diffusion 3's pipeline asks for them."""
    asked = tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, add_special_tokens=True)
    return np.asarray(asked.input_ids)


@pytest.mark.parametrize("change", [None, _as_published, _as_converted_by_transformers_4, _tokenizer_json_alone])
def test_ids_equal_transformers(folder, change):
    if change:
        change(folder)
    theirs, ours = T5TokenizerFast.from_pretrained(folder), load_t5_tokenizer(open_checkpoint(folder), "", LENGTH)
    captions = CAPTIONS + _random_captions(300)
    np.testing.assert_array_equal(ours(captions), _ids(theirs, captions))
    assert (ours.eos_id, ours.pad_id) == (theirs.eos_token_id, theirs.pad_token_id) == (1, 0)
    assert ours.vocab_size == len(theirs) == 200
    lengths = [len(ids) for ids in theirs(captions).input_ids]
    assert ours.cuts(captions) == [length > LENGTH for length in lengths] and any(ours.cuts(captions))


@pytest.mark.parametrize("settings", [False, True])
def test_a_sentencepiece_model_alone_gives_the_same_ids(folder, settings):
    theirs = T5TokenizerFast.from_pretrained(folder)
    if settings:
        _as_published(folder)
        theirs = T5TokenizerFast.from_pretrained(folder)
    for path in folder.iterdir():
        if not (settings and path.name in ("tokenizer_config.json", "special_tokens_map.json")):
            path.unlink()
    shutil.copy(SPIECE, folder / "spiece.model")
    captions = CAPTIONS + _random_captions(300)
    ours = load_t5_tokenizer(open_checkpoint(folder), "", LENGTH)
    np.testing.assert_array_equal(ours(captions), _ids(theirs, captions))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"}, "LlamaTokenizer.*T5 tokenizer"),
        ("tokenizer_config.json", {"padding_side": "left"}, "padding_side 'left'"),
        ("tokenizer_config.json", {"eos_token": "<end>"}, "eos_token '<end>'.*'</s>'"),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": {}}}, "model type 'BPE'.*Unigram"),
        ("tokenizer.json", {"model": {"type": "Unigram", "unk_id": 2, "vocab": [["a"]]}}, "list of pieces"),
        ("tokenizer.json", {"model": {"type": "Unigram", "unk_id": 2, "vocab": [["a", 0.0]]}}, "first pieces"),
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}, "normalizer.*Lowercase.*not supported"),
        ("tokenizer.json", {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "%"}}, "not base64"),
        ("tokenizer.json", {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "broken"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "ByteLevel"}}, "pre_tokenizer.*ByteLevel"),
        ("tokenizer.json", {"added_tokens": [{"id": 7, "content": "</s>"}]}, "token 7, but by its vocabulary it is 1"),
    ],
)
def test_another_tokenizer_is_refused_by_name(folder, name, change, message):
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | change))
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_t5_tokenizer(open_checkpoint(folder), "", LENGTH)
    assert "\n" not in str(refusal.value)


def _edited(edit) -> bytes:
    model = ModelProto.FromString(SPIECE.read_bytes())
    edit(model)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "spiece.model is missing.*tokenizer.json"),
        (b"\xff" * 40, "no SentencePiece model"),
        (SPIECE.read_bytes()[:-3], "no SentencePiece model"),
        (_edited(lambda model: setattr(model.trainer_spec, "model_type", 2)), "model_type 2"),
        (_edited(lambda model: setattr(model.normalizer_spec, "add_dummy_prefix", False)), "marks words"),
        (_edited(lambda model: setattr(model.pieces[9], "type", 4)), "pieces of type 4"),
        (_edited(lambda model: setattr(model.pieces[9], "score", float("nan"))), "must be finite"),
        (_edited(lambda model: setattr(model.pieces[9], "piece", "s")), "one piece twice"),
    ],
)
def test_another_sentencepiece_model_is_refused(tmp_path, contents, message):
    if contents is not None:
        (tmp_path / "spiece.model").write_bytes(contents)
    with pytest.raises(CheckpointError, match=message):
        load_t5_tokenizer(open_checkpoint(tmp_path), "", LENGTH)
