"""Our tokenizer gives the ids of transformers' CLIPTokenizer, whatever files the folder holds."""

import json
import random
import shutil

import numpy as np
import pytest
from transformers import CLIPTokenizer

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.tokenizer import load_tokenizer, train_tokenizer

CAPTIONS = [
    "",
    " ",
    "a photo of a cat",
    "A  PHOTO\tof\n a   Cat ",
    "cat's, dogs' and they've I'm we'll he'd don't",
    "wow!!! really?! (yes) [no] {maybe} #hash ## # @you 50% $9.99 1,234,567 ½ ² Ⅷ",
    "café cafe\u0301 naïve ÅNGSTRÖM \u212b straße İstanbul ΑΣ ﬁne",  # composed, decomposed, lower-casing traps
    "日本語 の 猫, 고양이, кошка, قطة, बिल्ली, ไทย",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 ❤️ 1️⃣ 🇩🇪",
    "zero\u200bwidth no\u00a0break soft\u00adhyphen \ufeffbom \u2028line \x00nul \x7f",
    "<|startoftext|> inside <|endoftext|> <|EndOfText|> <|end",
    "snake_case kebab-case a/b\\c http://example.org/?q=1&r=2 e.g. ...…—\u2013",
    "long " * 200,
    "x" * 300,
    "12345678901234567890 1a2b3c",
]

_NORMALIZED = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def _random_captions(n: int) -> list[str]:
    rng = random.Random(0)
    alphabet = "aàá bc'!#<|>S \t19é😀ßΣ한\u0301.\u00a0"
    return ["".join(rng.choices(alphabet, k=rng.randrange(40))) for _ in range(n)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([*CAPTIONS, "# ## ! !! cat! a cat"], vocab_size=700, max_length=24, folder=folder)
    return folder


def _sd15(folder):
    """Settings as Stable Diffusion 1.5 publishes them."""
    special = {name: {"content": "<|endoftext|>"} | _NORMALIZED for name in ("eos_token", "unk_token")}
    special["bos_token"] = {"content": "<|startoftext|>"} | _NORMALIZED
    (folder / "special_tokens_map.json").write_text(json.dumps(special | {"pad_token": "<|endoftext|>"}))
    typed = {name: token | {"__type": "AddedToken"} for name, token in special.items()}
    settings = {"model_max_length": 24, "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer"} | typed
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return special


def _sd21(folder):
    """Settings as Stable Diffusion 2.1 publishes them: the two files disagree about padding."""
    special = _sd15(folder)
    (folder / "special_tokens_map.json").write_text(json.dumps(special | {"pad_token": "!"}))


def _added_tokens_decoder(folder):
    """Settings as transformers 4.34 and later wrote them; the map is then not read."""
    _sd15(folder)
    vocab = json.loads((folder / "vocab.json").read_text())
    tokens = {"!": False, "<|startoftext|>": True, "<|endoftext|>": True}
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"pad_token": "!"}
    settings |= {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings["added_tokens_decoder"] = {
        str(vocab[token]): _NORMALIZED | {"content": token, "normalized": normalized, "special": True}
        for token, normalized in tokens.items()
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _tokenizer_json_only(folder):
    """What transformers 5 saves."""
    _sd21(folder)
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder / "saved")
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink()
    for path in (folder / "saved").iterdir():
        shutil.move(path, folder / path.name)
    assert not (folder / "vocab.json").exists()


@pytest.mark.parametrize("settings", [None, _sd15, _sd21, _added_tokens_decoder, _tokenizer_json_only])
def test_ids_equal_transformers(trained, tmp_path, settings):
    folder = tmp_path / "tokenizer"
    shutil.copytree(trained, folder)
    if settings:
        settings(folder)
    theirs, ours = CLIPTokenizer.from_pretrained(folder), load_tokenizer(open_checkpoint(folder))
    captions = CAPTIONS + _random_captions(300)
    expected = theirs(captions, padding="max_length", truncation=True, max_length=theirs.model_max_length)
    assert ours.max_length == theirs.model_max_length == 24
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id)
    assert ours.vocab_size == len(theirs)
    np.testing.assert_array_equal(ours(captions), np.asarray(expected.input_ids))
