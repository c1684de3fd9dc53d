"""Stable Diffusion XL: bases of others are named as what they are, and the context is of each picture's own size."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.experiments.splits import Split
from lisa_jax.families.autoencoder import autoencoder_latents
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of, write_random_base
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.registry import architecture_of, load_family


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_random_base("tiny_sdxl", tmp_path_factory.mktemp("base") / "folder")


def fields(part, **changed):
    def change(base):
        (base / part).write_text(json.dumps(json.loads((base / part).read_text()) | changed))

    return change


def refiner(base):
    shutil.rmtree(base / "text_encoder")
    fields("model_index.json", _class_name="StableDiffusionXLImg2ImgPipeline", text_encoder=[None, None])(base)
    fields("unet/config.json", cross_attention_dim=16)(base)


REFUSED = {
    "refiner": (refiner, r"text_encoder.* is missing, as of Stable Diffusion XL's refiner, .*: give the base"),
    "inpainting": (fields("unet/config.json", in_channels=9), r"takes 9 \(as those of inpainting\)"),
    "InstructPix2Pix": (fields("unet/config.json", in_channels=8), r"takes 8 \(as those of InstructPix2Pix\)"),
    "LCM": (fields("unet/config.json", time_cond_proj_dim=256), r"time_cond_proj_dim 256 .* \(LCM\)"),
    "UNet of Stable Diffusion": (fields("unet/config.json", addition_embed_type=None), "whose UNets have 'text_time'"),
    "other tokens": (fields("text_encoder/config.json", hidden_size=20), "are 36 wide, but the UNet's cross_attention"),
    "other pooled text": (fields("text_encoder_2/config.json", projection_dim=12), "text_encoder_2 is 12 wide, but"),
    "no truth": (fields("model_index.json", force_zeros_for_empty_prompt=1), "is 1, but must be true or false"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_base_is_named_as_what_it_is(whole, tmp_path, change, words):
    base = shutil.copytree(whole, tmp_path / "base")
    change(base)
    with pytest.raises(CheckpointError, match=words):
        architecture_of(open_checkpoint(base))


@pytest.mark.parametrize(
    ("scheduler", "sign"),
    [
        (
            {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"},
            "timestep_spacing trailing",
        ),
        ({"_class_name": "LCMScheduler"}, "LCMScheduler"),
        ({"timestep_spacing": "trailing", "prediction_type": "v_prediction"}, None),
        ({}, None),
    ],
)
def test_a_base_that_was_distilled_for_few_steps_is_told_by_its_scheduler_and_taken(
    whole, tmp_path, caplog, scheduler, sign
):
    base = shutil.copytree(whole, tmp_path / "base")
    fields("scheduler/scheduler_config.json", **scheduler)(base)
    load_family(base, Setup())
    told = [record.getMessage() for record in caplog.records if "few steps" in record.getMessage()]
    assert [f"scheduler_config.json has {sign}, as bases" in message for message in told] == [True] * bool(sign)


def test_a_side_network_of_stable_diffusion_is_of_another_base(whole, tmp_path):
    config = preset_of("tiny_sd21").controlnet
    CONTROLNET.write(tmp_path / "side", config, random_tree(CONTROLNET.key_table(config), 0))
    with pytest.raises(
        CheckpointError, match="addition_embed_type None, but the UNet text_time: it belongs to another"
    ):
        load_family(whole, Setup(("pose",), start_from={"pose": str(tmp_path / "side")}))


def test_examples_that_tell_no_size_are_refused_by_name(whole):
    conditioner = load_family(whole, Setup()).conditioner
    with pytest.raises(ValueError, match="tells no crop of its picture"):
        conditioner.read([{"caption": "cat", "size": (8, 8), "original_size": (9, 8)}])
    assert conditioner.read([{"caption": "cat", "size": (8, 7), "original_size": (9, 10), "crop": (1, 2)}])[
        "time_ids"
    ].tolist() == [[9, 10, 1, 2, 8, 7]]


@pytest.mark.parametrize("cached", [True, False])
def test_pictures_like_examples_are_asked_for_as_inference_does(whole, cached):
    """Not as the examples were found and cropped, which is what training and validation tell the network."""
    family = load_family(whole, Setup())
    rows = [{"caption": "cat", "size": (8, 16), "original_size": (90, 100), "crop": (1, 2), "index": 0}]
    context = family.conditioner.contexts(rows)
    split = Split(rows, family, lambda example: {}, None)
    batch = {"index": np.arange(1), "inputs": {"context": context} if cached else {}}
    found = split.contexts(batch)
    assert found["time_ids"].dtype == np.int32 and found["time_ids"].tolist() == [[8, 16, 0, 0, 8, 16]]
    assert context["time_ids"].tolist() == [[90, 100, 1, 2, 8, 16]]
    np.testing.assert_array_equal(found["tokens"], context["tokens"])


def test_a_base_without_zeros_for_no_caption_is_another_one(whole, tmp_path):
    base = shutil.copytree(whole, tmp_path / "base")
    prints = {}
    for zeros in (True, False, None):
        index = json.loads((whole / "model_index.json").read_text()) | {"force_zeros_for_empty_prompt": zeros}
        index = {name: value for name, value in index.items() if value is not None or name[0] != "f"}
        (base / "model_index.json").write_text(json.dumps(index))
        prints[zeros] = load_family(base, Setup()).fingerprint
    # As before it was asked.
    components = architecture_of(open_checkpoint(whole)).components
    assert prints[True] == prints[None] == open_checkpoint(whole).fingerprint(components)
    assert prints[False] != prints[True]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_moments_are_finite_where_activations_leave_the_range_of_float16(whole, dtype):
    """As in the published VAE: between norms that bring them back, activations exceed 65,504."""
    config, params = VAE.read(open_checkpoint(whole), "vae")
    first = jax.tree.map(lambda leaf: 1e6 * (1 + leaf), params["encoder"]["conv_in"])
    params = {**params, "encoder": {**params["encoder"], "conv_in": first}}
    moments = jax.jit(autoencoder_latents(config, lambda: params, dtype).moments)
    assert np.isfinite(moments(params, np.zeros((1, 16, 16, 3), np.uint8))).all()
