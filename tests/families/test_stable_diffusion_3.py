"""Loading a Stable Diffusion 3 folder: what it refuses, each in one sentence that names the way out."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.drawing.networks import networks_of_folders
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of, write_random_base
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.registry import architecture_of, load_family
from lisa_jax.preparing.encoding import load_encoding

KEY = jax.random.key(0)
WEIGHTS = "diffusion_pytorch_model.safetensors"
SPIECE = Path(__file__).parents[1] / "parity" / "tiny_spiece.model"
T5 = {"d_model": 48, "d_ff": 64, "d_kv": 8, "num_heads": 3, "num_layers": 2, "vocab_size": 208}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_random_base("tiny_sd3_medium", tmp_path_factory.mktemp("sd3") / "base")


@pytest.fixture(scope="module")
def side(base, tmp_path_factory):
    folder, family = tmp_path_factory.mktemp("side") / "side", load_family(base, Setup(("pose",)))
    start = family.read_start()["pose"]
    shapes = jax.eval_shape(family.model.sides["pose"].init, start, KEY)
    family.write_side(folder, "pose", jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    return folder


def edited(name, **fields):
    def edit(folder):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | fields))

    return edit


def without(part):
    return lambda folder: shutil.rmtree(folder / part)


def with_t5_as_a_pickle(folder):
    (folder / "text_encoder_3").mkdir()
    fields = T5 | {"feed_forward_proj": "gated-gelu", "architectures": ["T5EncoderModel"]}
    (folder / "text_encoder_3" / "config.json").write_text(json.dumps(fields))
    (folder / "text_encoder_3" / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    (folder / "tokenizer_3").mkdir()
    shutil.copy(SPIECE, folder / "tokenizer_3" / "spiece.model")


def with_another_table(folder):
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors | {"pos_embed.pos_embed": np.flip(tensors["pos_embed.pos_embed"], 1).copy()}, folder / WEIGHTS)


BASES = {
    "no second text encoder": (without("text_encoder_2"), r"text_encoder_2/config\.json is missing"),
    "no tokenizer": (without("tokenizer"), r"tokenizer/vocab\.json is missing"),
    "no transformer": (without("transformer"), r"transformer/config\.json is missing"),
    "T5 as a pickle": (with_t5_as_a_pickle, r"text_encoder_3/pytorch_model\.bin is a pickle"),
    "inpainting": (
        lambda folder: (
            edited("model_index.json", _class_name="StableDiffusion3InpaintPipeline")(folder),
            edited("transformer/config.json", in_channels=33)(folder),
        ),
        "latents have 16 channels, but the transformer takes 33 and gives 16: only bases without further inputs",
    ),
    "no flow": (
        edited("scheduler/scheduler_config.json", _class_name="EulerDiscreteScheduler"),
        "describes Diffusion, but Stable Diffusion 3 is a rectified flow",
    ),
}


def refusal(base, setup):
    """What is said of a base, or of what is asked for beside it, before any network is built."""
    with pytest.raises(ValueError) as refused:
        load_family(base, setup).read_start()
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    return str(refused.value)


@pytest.mark.parametrize(("change", "message"), BASES.values(), ids=BASES)
def test_a_base_that_is_not_whole_is_told_by_its_part(base, tmp_path, change, message):
    changed = shutil.copytree(base, tmp_path / "base")
    change(changed)
    with pytest.raises(CheckpointError, match=message):
        raise CheckpointError(refusal(changed, Setup()))


def test_a_base_without_its_t5_is_the_one_that_has_none(base, tmp_path):
    with_t5 = shutil.copytree(base, tmp_path / "base")
    # Not even damaged is it in the way.
    with_t5_as_a_pickle(with_t5)
    family = load_family(with_t5, Setup(), leave_out=("text_encoder_3",))
    assert family.fingerprint == load_family(base, Setup()).fingerprint
    assert family.conditioner.shapes.keys() == {"clip", "pooled"}
    family.write_main(tmp_path / "written", family.frozen)
    assert {path.name for path in (tmp_path / "written").iterdir()} == {path.name for path in base.iterdir()}
    with pytest.raises(ValueError, match="leave_out names 'vae', but of this base only text_encoder_3 can be left out"):
        load_family(base, Setup(), leave_out=("vae", "text_encoder_3"))


def test_beside_its_base_a_side_network_is_sampled_by_what_fits_a_flow(base, side):
    assert networks_of_folders(str(base), [str(side)], "float32").sampling["sampler"] == "euler"


SIDES = {
    "deeper": (
        edited("config.json", num_layers=4),
        "4 residuals do not fit a transformer of 4 layers: it takes 1 to 3",
    ),
    "wider": (
        edited("config.json", num_attention_heads=8, caption_projection_dim=64),
        "the side network has width 64, but the transformer 32: it belongs to another base",
    ),
    "of another table's size": (edited("config.json", pos_embed_max_size=24), "pos_embed_max_size 24, but the"),
    "of other positions": (with_another_table, "pos_embed.pos_embed differs from the transformer's by up to"),
    "with more norms than its weights": (
        edited("config.json", qk_norm="rms_norm"),
        "does not fit its config: 8 missing tensor(s), e.g. transformer_blocks.0.attn.norm_added_k.weight",
    ),
    "for inpainting": (edited("config.json", extra_conditioning_channels=1), "extra_conditioning_channels 1, as"),
}


@pytest.mark.parametrize(("change", "message"), SIDES.values(), ids=SIDES)
def test_a_side_network_of_another_base_is_named(base, side, tmp_path, change, message):
    changed = shutil.copytree(side, tmp_path / "side")
    change(changed)
    said = refusal(base, Setup(("pose",), start_from={"pose": str(changed)}))
    assert said.startswith(str(changed)) and message in said


def test_an_architecture_alone_has_side_networks_of_the_configs_that_they_start_from(base, side, tmp_path):
    for name, fields in (("pose", {"num_layers": 1, "qk_norm": "rms_norm"}), ("edges", {"num_layers": 4})):
        edited("config.json", **fields)(shutil.copytree(side, tmp_path / name))
    architecture = architecture_of(open_checkpoint(base))
    model = architecture.abstract(Setup(("pose",), start_from={"pose": str(tmp_path / "pose")})).model
    assert model.hooks == ("block_0",)
    assert "norm_q" in jax.eval_shape(model.sides["pose"].init, {}, KEY)["transformer_blocks_0"]["attn"]
    with pytest.raises(CheckpointError, match="edges: 4 residuals do not fit a transformer of 4 layers"):
        architecture.abstract(Setup(("pose",), start_from={"pose": str(tmp_path / "edges")}))


def test_what_is_no_side_network_of_this_kind_of_base_is_told_with_what_is(base, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "ControlNetModel"}))
    for given, message in (
        (tmp_path, "is a ControlNet of a UNet, but beside this base goes a SD3ControlNetModel."),
        (base / "transformer", "is a transformer alone, but beside this base goes a SD3ControlNetModel."),
        (base, "is a whole base, not a side network: give the folder of a ControlNet."),
    ):
        assert refusal(base, Setup(("pose",), start_from={"pose": str(given)})) == f"{given} {message}"


def test_files_of_what_goes_beside_unets_are_told_as_what_they_are(base, tmp_path):
    low_rank = {f"input_hint_block.{index}.weight": np.zeros((4, 4, 3, 3), np.float32) for index in (0, 4)}
    low_rank["input_blocks.0.0.down"] = np.zeros((2, 4, 3, 3), np.float32)
    save_file(low_rank | {"lora_controlnet": np.zeros(0, np.float32)}, tmp_path / "lora.safetensors")
    config = preset_of("tiny_sd21").controlnet
    CONTROLNET.write(tmp_path, config, random_tree(CONTROLNET.key_table(config), 0))
    (tmp_path / "config.json").unlink()
    for file, what in (("lora.safetensors", "a Control-LoRA, which is of UNets"), (WEIGHTS, "a ControlNet of a UNet")):
        said = refusal(base, Setup(("pose",), start_from={"pose": str(tmp_path / file)}))
        assert said == f"{tmp_path / file} is {what}, but beside this base goes a SD3ControlNetModel."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"block_out_channels": (8, 8)}, "side.block_out_channels is of UNets"),
        ({"layers_per_block": 1}, "side.layers_per_block is of UNets"),
        ({"condition_channels": (8,)}, "condition_channels (8,) are of UNets"),
        ({"condition_init": "preserving"}, "side.condition_init 'preserving' is of UNets"),
        ({"num_layers": 4}, "side.num_layers: 4 residuals do not fit a transformer of 4 layers: it takes 1 to 3."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit_the_transformer_are_named(base, fields, message):
    assert message in refusal(base, Setup(("pose",), **fields))


def test_sizes_that_the_transformer_does_not_take_are_told_with_those_that_it_does(base):
    latents = load_family(base, Setup()).latents
    assert latents.shape(64, 80) == (8, 10, 16)
    encoding = load_encoding(base, ("moments",), 1)
    for shape in (latents.shape, lambda *size: encoding.shapes(size, {"pose": 3})):
        for size in ((72, 64), (64, 60), (208, 64)):
            with pytest.raises(ValueError, match="height and width must be multiples of 16, 192 at most"):
                shape(*size)
