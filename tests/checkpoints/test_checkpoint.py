"""Opening a source of weights: what it holds, what tells it from another, what is refused."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS

# As they were when runs were trained that are still resumed: the digests must stay.
OF_BOTH = "1b19194898450da49bab5cb91a16679f5098a9852ae53654d1d451cc1f6a200f"
OF_UNET = "0a2debb473ea16f574f5b70f29ddb08960362866f32ca8540b7f76c0e4b85afe"


@pytest.fixture
def folder(tmp_path):
    unet, tokenizer = tmp_path / "base" / "unet", tmp_path / "base" / "tokenizer"
    unet.mkdir(parents=True)
    tokenizer.mkdir()
    (unet / "config.json").write_text("{}")
    save_file({"w": np.arange(4, dtype=np.float32)}, unet / f"{DIFFUSERS_WEIGHTS}.safetensors")
    (tokenizer / "vocab.json").write_text('{"a": 0}')
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    return tmp_path / "base"


def test_components_and_their_files_are_found(folder):
    checkpoint = open_checkpoint(str(folder))
    assert checkpoint.has("unet") and not checkpoint.has("vae")
    assert checkpoint.config("tokenizer", "vocab.json") == {"a": 0}
    assert checkpoint.file("tokenizer", "merges.txt").read_text().startswith("#version")
    assert checkpoint.file("tokenizer", "added_tokens.json") is None
    np.testing.assert_array_equal(checkpoint.tensors("unet")["w"].read(), np.arange(4))


def test_a_folder_that_is_one_component_is_read_without_a_name(folder):
    checkpoint = open_checkpoint(folder / "unet")
    assert checkpoint.config() == {} and list(checkpoint.tensors()) == ["w"]


def test_the_fingerprint_of_a_base_stays_as_it_is_wherever_it_lies(folder, monkeypatch):
    both = {"unet": DIFFUSERS_WEIGHTS, "tokenizer": None}
    assert open_checkpoint(folder).fingerprint(both) == OF_BOTH
    assert open_checkpoint(folder).fingerprint({"unet": DIFFUSERS_WEIGHTS}) == OF_UNET
    # A folder that is one component goes by its own name, however it is reached.
    assert open_checkpoint(folder / "unet").fingerprint({"": DIFFUSERS_WEIGHTS}) == OF_UNET
    monkeypatch.chdir(folder / "unet")
    assert open_checkpoint(".").fingerprint({"": DIFFUSERS_WEIGHTS}) == OF_UNET


def test_another_tokenizer_is_another_base_whatever_its_files_are(folder):
    seen = {open_checkpoint(folder).fingerprint({"tokenizer": None})}
    for name in ("added.json", "merges.txt", "spiece.model"):
        (folder / "tokenizer" / name).write_text("others")
        seen.add(open_checkpoint(folder).fingerprint({"tokenizer": None}))
    assert len(seen) == 4


def test_a_component_is_copied_into_a_folder_that_may_exist(folder, tmp_path):
    for _ in range(2):
        open_checkpoint(folder).copy("tokenizer", tmp_path / "out" / "tokenizer")
    copied = open_checkpoint(tmp_path / "out")
    assert copied.fingerprint({"tokenizer": None}) == open_checkpoint(folder).fingerprint({"tokenizer": None})


def test_a_missing_folder_is_refused_in_one_sentence(folder):
    with pytest.raises(CheckpointError, match="nowhere is missing: give the folder of a checkpoint"):
        open_checkpoint(folder / "nowhere")
    with pytest.raises(CheckpointError, match=r"vae/config\.json is missing"):
        open_checkpoint(folder).config("vae")


def test_a_config_that_is_no_json_is_named(folder):
    for content, told in (
        ("<!DOCTYPE html><html>", "is a web page in place of the file"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS in place of the file"),
        ("", "is empty"),
        ('{"a": 1,}', r"is not valid JSON \(.*\)"),
        ("[1]", "holds a JSON list, but must hold an object"),
    ):
        (folder / "unet" / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=rf"unet/config\.json {told}.*: fetch the folder again"):
            open_checkpoint(folder).config("unet")


@pytest.mark.parametrize("refs", ["abc\n", None])
def test_a_folder_of_the_hub_s_cache_stands_for_its_snapshot(folder, tmp_path, refs):
    cache = tmp_path / "models--owner--name"
    (cache / "snapshots").mkdir(parents=True)
    folder.rename(cache / "snapshots" / "abc")
    if refs:
        (cache / "refs").mkdir()
        (cache / "refs" / "main").write_text(refs)
        (cache / "snapshots" / "older").mkdir()
    assert open_checkpoint(cache).folder == cache / "snapshots" / "abc"
    for path in cache.glob("refs/main"):
        path.write_text("../..")
    (cache / "snapshots" / "newer").mkdir()
    with pytest.raises(CheckpointError, match=r"give one of its snapshots \(abc, newer"):
        open_checkpoint(cache)
