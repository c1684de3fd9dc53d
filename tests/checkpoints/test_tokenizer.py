"""The tokenizer: deterministic training, layout of a row, precedence of the special-token files, refusals."""

import json

import numpy as np
import pytest

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.tokenizer import load_tokenizer, train_tokenizer

CAPTIONS = ["a red cat on a mat", "a red car", "the cat's hat", "12 cats! and a café", "smiling face 😀"]


@pytest.fixture
def folder(tmp_path):
    train_tokenizer(CAPTIONS, vocab_size=600, max_length=10, folder=tmp_path)
    return tmp_path


def test_row_is_start_tokens_end_padding(folder):
    tokenizer = load_tokenizer(open_checkpoint(folder))
    ids = tokenizer(["a red cat", "", "one two three four five six seven eight nine ten"])
    assert ids.shape == (3, 10) and ids.dtype == np.int32
    assert (ids[:, 0] == tokenizer.bos_id).all()
    assert ids[0, 4:].tolist() == [tokenizer.eos_id] + [tokenizer.pad_id] * 5  # "cat" and "red" were seen: one id each
    assert ids[1, 1] == tokenizer.eos_id
    assert ids[2, -1] == tokenizer.eos_id and tokenizer.eos_id not in ids[2, 1:-1]  # cut, and still ended
    assert ids.max() < tokenizer.vocab_size <= 600


def test_captions_that_do_not_fit_are_told(folder):
    tokenizer = load_tokenizer(open_checkpoint(folder))
    # "red" is one token, and two places are those of the special ones.
    assert tokenizer.cuts(["", "red " * 8, "red " * 9]) == [False, False, True]


def test_case_and_whitespace_do_not_matter(folder):
    tokenizer = load_tokenizer(open_checkpoint(folder))
    ids = tokenizer(["A  Red\n\tCAT ", "a red cat"])
    assert (ids[0] == ids[1]).all()
    assert tokenizer([]).shape == (0, 10)


def test_training_is_deterministic(tmp_path):
    for name in ("first", "second"):
        train_tokenizer(iter(CAPTIONS), vocab_size=540, max_length=10, folder=tmp_path / name)
    for name in ("vocab.json", "merges.txt"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    vocab = json.loads((tmp_path / "first" / "vocab.json").read_text())
    assert vocab["!"] == 0 and vocab["!</w>"] == 256 and vocab["<|endoftext|>"] == 539
    lines = (tmp_path / "first" / "merges.txt").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "#version: 0.2" and lines[1] == "c a" and len(lines) == 540 - 514 + 2


def test_special_tokens_map_wins_over_tokenizer_config(folder):
    assert load_tokenizer(open_checkpoint(folder)).pad_id == load_tokenizer(open_checkpoint(folder)).eos_id
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "!"}))
    tokenizer = load_tokenizer(open_checkpoint(folder))
    assert tokenizer.pad_id == 0
    assert tokenizer([""])[0].tolist() == [tokenizer.bos_id, tokenizer.eos_id] + [0] * 8


def test_max_length_defaults_to_clips(folder):
    for settings in ({}, {"model_max_length": 1000000000000000019884624838656}):
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        assert load_tokenizer(open_checkpoint(folder))(["a"]).shape == (1, 77)


def test_one_string_is_refused(folder):
    with pytest.raises(TypeError, match="list of strings"):
        load_tokenizer(open_checkpoint(folder))("a red cat")


def test_too_small_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match="513"):
        train_tokenizer(CAPTIONS, vocab_size=513, max_length=10, folder=tmp_path)


def test_missing_merges_are_named(folder):
    (folder / "merges.txt").unlink()
    with pytest.raises(CheckpointError, match=r"merges\.txt is missing"):
        load_tokenizer(open_checkpoint(folder))


def test_merge_outside_the_vocabulary_is_refused(folder):
    with (folder / "merges.txt").open("a", encoding="utf-8") as file:
        file.write("z z\n")
    with pytest.raises(CheckpointError, match="do not fit each other"):
        load_tokenizer(open_checkpoint(folder))


@pytest.mark.parametrize(
    ("field", "value"), [("tokenizer_class", "T5Tokenizer"), ("padding_side", "left"), ("truncation_side", "left")]
)
def test_other_tokenizers_are_refused(folder, field, value):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {field: value}))
    with pytest.raises(CheckpointError, match=f"{field} '{value}'"):
        load_tokenizer(open_checkpoint(folder))


MODEL = {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {"<|startoftext|>": 0, "<|endoftext|>": 1}, "merges": []}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", {"model": {"type": "Unigram", "vocab": []}}, "Unigram"),
        ("tokenizer.json", {"version": "1.0"}, "has no model"),
        ("tokenizer.json", {"model": MODEL | {"vocab": ["a"]}}, "holds no vocabulary"),
        ("tokenizer.json", {"model": MODEL | {"vocab": {"a": 0}}}, r"has no '<\|startoftext\|>'"),
        ("tokenizer.json", {"model": MODEL | {"merges": [["a"]]}}, r"the merge \['a'\] is no pair"),
        ("tokenizer.json", {"model": MODEL | {"merges": 7}}, "the merge 7 is no pair"),
        ("tokenizer.json", {"model": MODEL, "added_tokens": ["a"]}, "added_tokens .* is no list of tokens"),
        ("tokenizer.json", {"model": MODEL, "added_tokens": [{"id": 9, "content": "<x>"}]}, "'<x>' as token 9, .* 2:"),
        ("tokenizer.json", {"model": MODEL, "added_tokens": [{"id": 2}]}, "{'id': 2} is no special token"),
        ("vocab.json", MODEL["vocab"] | {"a": "2"}, "holds no vocabulary"),
        ("vocab.json", MODEL["vocab"] | {"a": 1}, "ids of the vocabulary must be from 0 to .*, each once"),
        ("vocab.json", MODEL["vocab"] | {"a": 10**12}, "ids of the vocabulary must be from 0 to"),
        ("vocab.json", ["a"], "holds a JSON list"),
        ("special_tokens_map.json", {"pad_token": 7}, "pad_token: 7 is no special token"),
        ("special_tokens_map.json", {"pad_token": {"content": "!", "lstrip": 3}}, "pad_token: .* is no special token"),
        ("tokenizer_config.json", {"model_max_length": "77"}, "model_max_length '77' is no number of tokens"),
        ("tokenizer_config.json", {"model_max_length": 1}, "model_max_length 1 is no number of tokens from 2 on"),
        (
            "tokenizer_config.json",
            {"added_tokens_decoder": {"first": "a"}},
            "added_tokens_decoder .* is no list of ids",
        ),
        ("merges.txt", "#version: 0.2\n", "merges.txt has 0 merges, none of which makes .* it is cut off"),
        ("merges.txt", "a b c", "merges.txt: the merge 'a b c' is no pair of tokens"),
    ],
)
def test_what_no_clip_tokenizer_holds_is_refused_by_its_file(folder, name, content, message):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CheckpointError, match=message) as refused:
        load_tokenizer(open_checkpoint(folder))
    assert str(folder) in str(refused.value) and len(str(refused.value)) < 500


def test_an_optional_file_that_is_none_is_refused_not_left_out(folder):
    (folder / "special_tokens_map.json").unlink()
    (folder / "special_tokens_map.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"special_tokens_map\.json' is a device, but must be a file"):
        load_tokenizer(open_checkpoint(folder))


def test_merges_in_other_bytes_or_without_end_are_refused(folder):
    (folder / "merges.txt").write_bytes("é b".encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"merges\.txt is not UTF-8 \(byte 0\)"):
        load_tokenizer(open_checkpoint(folder))
    with (folder / "merges.txt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CheckpointError, match=r"merges\.txt' has 1,099,511,627,776 bytes"):
        load_tokenizer(open_checkpoint(folder))


def test_tokens_added_beside_the_vocabulary_are_refused(folder):
    (folder / "added_tokens.json").write_text(json.dumps({"<my-concept>": 600}))
    with pytest.raises(CheckpointError, match="<my-concept>"):
        load_tokenizer(open_checkpoint(folder))
