"""Bases as people have them: what can be read is read, all else is named as what it is, before any network is built."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lisa_jax.checkpoints.checkpoint import CheckpointError
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import write_random_base
from lisa_jax.families.registry import load_family
from lisa_jax.preparing.encoding import load_encoding

UNET, VAE, TEXT = "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_random_base("tiny_sd15", tmp_path_factory.mktemp("bases") / "base")


def fields(part, drop=(), **changed):
    def change(base):
        kept = {name: value for name, value in json.loads((base / part).read_text()).items() if name not in drop}
        (base / part).write_text(json.dumps(kept | changed))

    return change


def tensors(stem, changed):
    def change(base):
        path = base / f"{stem}.safetensors"
        save_file({key: np.ascontiguousarray(value) for key, value in changed(load_file(path)).items()}, path)

    return change


def variant(name):
    def change(base):
        for stem in (UNET, VAE, TEXT):
            (base / f"{stem}.safetensors").rename(base / f"{stem}.{name}.safetensors")

    return change


def only(part, *, as_file=None):
    """The base is nothing but one part of it, or a file at its place."""

    def change(base):
        aside = (base / part).rename(base.with_name("aside"))
        shutil.rmtree(base)
        if as_file is None:
            aside.rename(base)
        else:
            base.mkdir()
            aside.rename(base / as_file)

    return change


def written(part, content):
    return lambda base: (base / part).write_text(content)


def prefixed(prefix):
    return tensors(UNET, lambda found: {f"{prefix}{key}": value for key, value in found.items()})


OF_XL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def without_index_of_xl(base):
    fields("unet/config.json", **OF_XL)(base)
    (base / "model_index.json").unlink()


def with_channels(count):
    def change(base):
        fields("unet/config.json", in_channels=count)(base)
        tensors(UNET, lambda found: found | {"conv_in.weight": np.zeros((16, count, 3, 3), np.float32)})(base)

    return change


def without_tensor(base):
    tensors(UNET, lambda found: {key: value for key, value in found.items() if key != "conv_out.bias"})(base)


def single_file(base):
    single = {f"model.diffusion_model.{key}": value for key, value in load_file(base / f"{UNET}.safetensors").items()}
    save_file(single, base / f"{UNET}.safetensors")
    only(f"{UNET}.safetensors", as_file="dreamshaper_8.safetensors")(base)


def shards_elsewhere(name):
    return lambda base: (base / f"{UNET}.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))


READ = {
    "wrapped when it was saved": prefixed("_orig_mod.module."),
    "in half precision alone": variant("bf16"),
    "switches that are off": fields(
        "unet/config.json",
        upcast_attention=None,
        dual_cross_attention=None,
        only_cross_attention=None,
        field_of_a_later_version=False,
        another=None,
        _name_or_path="/home/somebody",
    ),
    "the average of a training": fields("unet/config.json", decay=0.9999, optimization_step=10, power=0.75),
    "text encoder with its projection": fields(
        "text_encoder/config.json", architectures=["CLIPTextModelWithProjection"], attention_dropout=0.1
    ),
}


@pytest.fixture(scope="module")
def expected(whole):
    return load_family(whole, Setup(frozen_dtype="float32")).frozen


@pytest.mark.parametrize("change", READ.values(), ids=READ)
def test_what_computes_the_same_is_read_the_same(whole, expected, tmp_path, change):
    base = shutil.copytree(whole, tmp_path / "base")
    change(base)
    family = load_family(base, Setup(frozen_dtype="float32"))
    np.testing.assert_array_equal(family.frozen["conv_out"]["kernel"], expected["conv_out"]["kernel"])


REFUSED = {
    "SDXL of one text encoder": (
        fields("model_index.json", _class_name="StableDiffusionXLPipeline"),
        r"text_encoder_2.* is missing",
    ),
    "SDXL's InstructPix2Pix": (
        fields("model_index.json", _class_name="StableDiffusionXLInstructPix2PixPipeline"),
        r"StableDiffusionXLInstructPix2PixPipeline \(InstructPix2Pix, whose UNet .*\), which is not supported",
    ),
    "SDXL's UNet": (
        fields("unet/config.json", **OF_XL),
        "addition_embed_type 'text_time' is of Stable Diffusion XL, but model_index.json names another pipeline",
    ),
    "SDXL's UNet without an index": (
        without_index_of_xl,
        "addition_embed_type 'text_time' is of Stable Diffusion XL, but there is no model_index.json: give one",
    ),
    "another pipeline of SDXL": (
        fields("model_index.json", _class_name="StableDiffusionXLPAGPipeline"),
        r"another pipeline of Stable Diffusion XL: if its parts .*, name StableDiffusionXLPipeline there\.",
    ),
    "another pipeline": (
        fields("model_index.json", _class_name="StableDiffusionPanoramaPipeline"),
        r"another pipeline of Stable Diffusion: if its parts .*, name StableDiffusionPipeline there\.",
    ),
    "Flux": (
        fields("model_index.json", _class_name="FluxPipeline"),
        r"a FluxPipeline \(Flux\), which is not supported",
    ),
    "LCM": (fields("unet/config.json", time_cond_proj_dim=32), r"time_cond_proj_dim 32 .* \(LCM\)"),
    "unCLIP": (fields("unet/config.json", class_embed_type="projection"), "class_embed_type 'projection' .* unCLIP"),
    "upscaler": (fields("unet/config.json", num_class_embeds=1000), "num_class_embeds 1000 .* an upscaler"),
    "inpainting": (with_channels(9), r"the UNet takes 9 \(as those of inpainting\) and gives 4"),
    "InstructPix2Pix": (with_channels(8), r"the UNet takes 8 \(as those of InstructPix2Pix\)"),
    "no mid block": (
        fields("unet/config.json", mid_block_type=None),
        "mid_block_type None is not supported.* No ControlNet fits this UNet",
    ),
    "no VAE": (lambda base: shutil.rmtree(base / "vae"), r"vae/config\.json is missing: the UNet gives latents of 4"),
    "a VAE of grey pictures": (fields("vae/config.json", in_channels=1), "in_channels 1 and out_channels 3 are not"),
    "one field of a later version": (
        fields("unet/config.json", b_new_switch=True, a_new_switch=True),
        "b_new_switch True is not supported: unknown field",
    ),
    "a UNet alone": (only("unet"), "base is a UNet alone: give the folder that it lies in"),
    "a folder of single files": (single_file, r"There is dreamshaper_8\.safetensors in it: give the file"),
    "other weights": (variant("non_ema"), r"there is diffusion_pytorch_model\.non_ema\.safetensors, which may hold"),
    "a web page": (written("unet/config.json", "<!doctype html><html>"), r"unet/config\.json is a web page in place"),
    "a pointer": (
        written(f"{UNET}.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "is a pointer of Git LFS in place of the file .*git lfs pull",
    ),
    "a pickle with another ending": (written(f"{UNET}.safetensors", "PK\x03\x04" + "0" * 99), "is a pickle of PyTorch"),
    "a shard elsewhere": (shards_elsewhere("../../vae/a.safetensors"), "which is no safetensors file beside it"),
    "an adapter in it": (
        tensors(UNET, lambda found: {key.replace("to_q.", "to_q.base_layer."): found[key] for key in found}),
        r"saved with an adapter \(LoRA\) in it: call `merge_and_unload",
    ),
    "a tensor less": (
        without_tensor,
        r"base/unet does not fit its config: 1 missing tensor\(s\), e\.g\. conv_out\.bias",
    ),
    "quantised": (
        tensors(UNET, lambda found: found | {"conv_out.bias": np.zeros(4, np.int8)}),
        r"tensor conv_out\.bias is I8: quantised weights are not read",
    ),
    "more layers than the file": (
        fields("text_encoder/config.json", num_hidden_layers=64),
        "64 layers have at least 512 tensors, but there are 36",
    ),
    "an encoder of fewer tokens": (
        lambda base: (
            fields("text_encoder/config.json", vocab_size=999)(base),
            tensors(TEXT, lambda found: found | {k: v[:999] for k, v in found.items() if "token_emb" in k})(base),
        ),
        "tokenizer has ids up to 999, but the text encoder takes 998 at most",
    ),
    "steps without end": (
        fields("scheduler/scheduler_config.json", num_train_timesteps=10**12),
        r"scheduler_config\.json: num_train_timesteps is 1000000000000, but must be a whole number from 1 to",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_base_of_this_kind_is_named_as_what_it_is(whole, tmp_path, change, message):
    base = shutil.copytree(whole, tmp_path / "base")
    change(base)
    with pytest.raises(CheckpointError, match=message) as refused:
        load_family(base, Setup())
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000


@pytest.mark.parametrize(("stem", "key"), [(UNET, "conv_in.bias"), (VAE, "encoder.conv_in.bias"), (TEXT, "layer_norm")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_by_file_and_tensor(whole, tmp_path, stem, key, value):
    base = shutil.copytree(whole, tmp_path / "base")
    tensors(stem, lambda found: {k: np.full_like(v, value) if key in k else v for k, v in found.items()})(base)
    with pytest.raises(
        CheckpointError, match=rf"{stem}\.safetensors: tensor .*{key}.* holds values that are not finite"
    ):
        family = load_family(base, Setup())
        _ = family.frozen, family.latents.params, family.conditioner.params


def test_prepare_refuses_a_main_network_that_nothing_can_be_trained_beside(whole, tmp_path):
    base = shutil.copytree(whole, tmp_path / "base")
    tensors(UNET, lambda found: found | {"conv_in.bias": np.full_like(found["conv_in.bias"], np.nan)})(base)
    with pytest.raises(CheckpointError, match=r"tensor conv_in\.bias holds values that are not finite"):
        load_encoding(base, ("context",), 8)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("runwayml/stable-diffusion-v1-5", "hf download runwayml/stable-diffusion-v1-5 --local-dir FOLDER"),
        ("v1-5-pruned.ckpt", r"v1-5-pruned\.ckpt is a pickle.*weights_only=True"),
        ("/dev/null", "/dev/null is no folder"),
    ],
)
def test_what_is_no_folder_is_told_with_the_way_to_one(tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v1-5-pruned.ckpt").write_bytes(b"PK\x03\x04")
    # Without it, the name would be the hub's.
    (tmp_path / "runwayml").mkdir()
    for path in (spec, tmp_path / spec):
        with pytest.raises(CheckpointError, match=message):
            load_family(path, Setup())


def test_what_is_no_side_network_is_told(whole, tmp_path):
    adapter, of_a_transformer = tmp_path / "adapter", tmp_path / "side"
    for folder, class_name in ((adapter, "T2IAdapter"), (of_a_transformer, "SD3ControlNetModel")):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"_class_name": class_name}))
    for folder, message in (
        (whole, "is a whole base, not a side network"),
        (whole / "unet", "is a UNet alone, but beside this base goes a ControlNetModel"),
        (adapter, "is a T2I-Adapter, which is not supported"),
        (
            of_a_transformer,
            "is a ControlNet of Stable Diffusion 3, but beside this base goes a ControlNetModel or a LisaJax",
        ),
        (whole / "tokenizer", r"config\.json is missing"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_family(whole, Setup(("edges",), start_from={"edges": str(folder)}))
