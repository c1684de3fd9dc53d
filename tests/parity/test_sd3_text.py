"""Captions of Stable Diffusion 3 against `encode_prompt` of diffusers' pipeline, with and without T5."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from tiny_sd3 import PROJECTIONS, WIDTHS, build_tiny_sd3

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.families.sd3_control import assembled
from lisa_jax.families.sd3_text import T5_LENGTH, read_sd3_text

CAPTIONS = ["a photo of a red cat", "", "dogs! ☂ " * 30, "Ein Hund; <extra_id_0> ﬁn"]
NEGATIVES = ["", "red", "of dogs", "cat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_sd3(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="module")
def without_t5(tmp_path_factory):
    return build_tiny_sd3(tmp_path_factory.mktemp("sd3_without_t5"), t5=False)


def _conditioner(folder, dtype=jnp.float32, leave_out=()):
    checkpoint = open_checkpoint(folder, leave_out)
    return read_sd3_text(checkpoint).load(checkpoint, jnp.dtype(dtype))


def _examples(captions):
    return [{"caption": caption} for caption in captions]


def _as_the_transformer_takes_it(context):
    """CLIP's tokens, filled up with zeros to the width of T5's, which follow; those of an absent T5 are zeros."""
    clip = context["clip"]
    clip = np.pad(clip, ((0, 0), (0, 0), (0, WIDTHS[2] - clip.shape[-1])))
    t5 = context.get("t5", np.zeros((len(clip), 256, WIDTHS[2])))
    return np.concatenate([clip, t5], axis=1), context["pooled"]


@torch.no_grad()
@pytest.mark.parametrize("t5", [True, False])
def test_contexts_equal_the_pipeline(t5, folder, without_t5, run, max_difference):
    folder = folder if t5 else without_t5
    left_out = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
    conditioner, pipeline = _conditioner(folder), StableDiffusion3Pipeline.from_pretrained(folder, **left_out)
    tokens, negative_tokens, pooled, negative_pooled = pipeline.encode_prompt(
        CAPTIONS, None, None, device="cpu", negative_prompt=NEGATIVES
    )
    contexts = run(conditioner.encode, conditioner.params, conditioner.read(_examples(CAPTIONS + NEGATIVES)))
    positive, negative = (
        _as_the_transformer_takes_it(jax.tree.map(lambda leaf, part=part: leaf[part], contexts))
        for part in (slice(4), slice(4, None))
    )
    difference = max_difference((tokens, pooled, negative_tokens, negative_pooled), (*positive, *negative))
    print(f"T5 {t5}: max abs diff {difference:.1e} of {np.abs(positive[0]).max():.2f}")
    assert tokens.shape == (4, 77 + T5_LENGTH, WIDTHS[2])
    assert difference < 1e-4

    # What an absent negative prompt is to the pipeline.
    _, empty, _, empty_pooled = pipeline.encode_prompt(CAPTIONS[0], None, None, device="cpu")
    of_empty = jax.tree.map(lambda leaf: leaf[CAPTIONS.index("")][None], contexts)
    unconditional = conditioner.null(contexts, of_empty)
    nothing = _as_the_transformer_takes_it(unconditional)
    assert max_difference((empty.expand(8, -1, -1), empty_pooled.expand(8, -1)), nothing) < 1e-4
    # What our own transformer is given.
    seen = assembled(unconditional, WIDTHS[2], T5_LENGTH)
    np.testing.assert_array_equal(seen["tokens"], nothing[0])
    np.testing.assert_array_equal(seen["pooled"], nothing[1])

    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in conditioner.shapes.items()}
    assert {name: (leaf.shape[1:], leaf.dtype) for name, leaf in contexts.items()} == expected


def test_an_architecture_alone_has_the_same_shapes_and_reads_nothing(folder, without_t5):
    for path, t5 in ((folder, True), (without_t5, False)):
        text = read_sd3_text(open_checkpoint(path))
        abstract = text.abstract(jnp.dtype(jnp.float32))
        assert abstract.shapes == _conditioner(path).shapes
        assert ("t5" in abstract.shapes) == ("text_encoder_3" in text.components) == t5
        assert open_checkpoint(path).fingerprint(text.components)
        with pytest.raises(ValueError, match="Captions"):
            abstract.read(_examples(["a"]))


def test_the_third_encoder_can_be_left_out_and_is_part_of_what_the_base_is(folder):
    conditioner = _conditioner(folder, leave_out=("text_encoder_3",))
    assert {name: leaf.shape for name, leaf in conditioner.shapes.items()} == {
        "clip": (77, WIDTHS[0] + WIDTHS[1]),
        "pooled": (sum(PROJECTIONS),),
    }
    assert conditioner.read(_examples(["a"])).keys() == {"clip_l", "clip_g"}
    checkpoints = open_checkpoint(folder), open_checkpoint(folder, ("text_encoder_3",))
    prints = [checkpoint.fingerprint(read_sd3_text(checkpoint).components) for checkpoint in checkpoints]
    assert prints[0] != prints[1]


def test_placed_weights_are_those_of_the_files_on_a_device(folder):
    conditioner = _conditioner(folder)
    placed = conditioner.placed().params
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(placed))
    jax.tree.map(np.testing.assert_array_equal, placed, conditioner.params)


def test_t5_computes_in_the_dtype_that_is_asked_for_and_clip_in_float32(folder, run):
    exact, half = _conditioner(folder), _conditioner(folder, jnp.bfloat16)
    # T5's weights stay as they are stored.
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {exact.shapes["clip"].dtype}
    expected, got = (
        run(conditioner.encode, conditioner.params, conditioner.read(_examples(CAPTIONS[:1])))
        for conditioner in (exact, half)
    )
    assert got["t5"].dtype == half.shapes["t5"].dtype == jnp.bfloat16
    # In bfloat16 it would be a thousand times that.
    np.testing.assert_allclose(got["clip"], expected["clip"], rtol=1e-5, atol=2e-6)
    rough = got["t5"].astype(jnp.float32)
    assert jnp.linalg.norm(rough - expected["t5"]) < 0.03 * jnp.linalg.norm(expected["t5"])


def test_a_caption_is_cut_if_any_tokenizer_cuts_it(folder):
    # One token of CLIP's, and many of T5's.
    captions = ["a red cat", "red " * 75, "red " * 76, "<|endoftext|>" * 40]
    assert _conditioner(folder).cuts(_examples(captions)) == [False, False, True, True]
    assert _conditioner(folder, leave_out=("text_encoder_3",)).cuts(_examples(captions)) == [False, False, True, False]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("tokenizer_2/tokenizer_config.json", {"model_max_length": 64}, "tokenizer pads.*77, but tokenizer_2 to 64"),
        ("text_encoder_2/config.json", {"vocab_size": 99}, "tokenizer_2 has ids up to"),
        ("text_encoder_3/config.json", {"vocab_size": 199}, "tokenizer_3 has ids up to 199.*198 at most"),
        ("text_encoder/config.json", {"projection_dim": 13}, "text_projection.weight has shape"),
    ],
)
def test_parts_that_do_not_fit_are_refused_before_anything_is_read(folder, tmp_path, name, fields, message):
    for part in folder.iterdir():
        if part.is_dir() and part.name != name.split("/")[0]:
            (tmp_path / part.name).symlink_to(part)
    (tmp_path / name).parent.mkdir()
    for file in (folder / name).parent.iterdir():
        (tmp_path / name).with_name(file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_text(json.dumps(json.loads((folder / name).read_text()) | fields))
    with pytest.raises(CheckpointError, match=message):
        _conditioner(tmp_path)
