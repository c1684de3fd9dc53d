"""Networks of a checkpoint without PyTorch: what does not fit is refused by name, what fits survives."""

import dataclasses
import json
import resource
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lisa_jax.checkpoints import component
from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.key_table import key_table
from lisa_jax.checkpoints.params import read_params, write_params
from lisa_jax.checkpoints.safetensors_file import write_safetensors
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.models.controlnet import controlnet_config_from_unet, feature_shapes
from lisa_jax.models.unet import UNetConfig

WEIGHTS = "diffusion_pytorch_model.safetensors"

TINY = {
    "block_out_channels": [4, 8],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "attention_head_dim": [2, 4],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "cross_attention_dim": 6,
    "sample_size": [8, 12],
}
SD21 = {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True}


def random_params(table, dtype=np.float32):
    """A tree with distinct numbers in every leaf."""
    rng, tree = np.random.default_rng(0), {}
    for entry in table.values():
        node = tree
        for name in entry.path[:-1]:
            node = node.setdefault(name, {})
        node[entry.path[-1]] = rng.normal(size=entry.shape).astype(dtype)
    return tree


@pytest.fixture(scope="module")
def config():
    return UNET.config_file.parse(TINY)


@pytest.fixture(scope="module")
def params(config):
    return random_params(UNET.key_table(config))


@pytest.fixture
def folder(tmp_path, config, params):
    UNET.write(tmp_path, config, params)
    return tmp_path


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_unet_folder_round_trip(folder, config, params):
    again, read = UNET.read(open_checkpoint(folder))
    assert again == config and hash(again) == hash(config)
    assert_same(read, params)
    header = json.loads((folder / "config.json").read_text())
    assert header["_class_name"] == "UNet2DConditionModel" and list(header) == sorted(header)


def test_controlnet_folder_round_trip(tmp_path, config):
    side = controlnet_config_from_unet(config, conditioning_embedding_out_channels=(4, 6, 8))
    params = random_params(CONTROLNET.key_table(side))
    CONTROLNET.write(tmp_path, side, params)
    again, read = CONTROLNET.read(open_checkpoint(tmp_path))
    assert again == side
    assert_same(read, params)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_dtype_on_writing_and_reading(tmp_path, config, params, dtype):
    UNET.write(tmp_path, config, params, dtype)
    _, kept = UNET.read(open_checkpoint(tmp_path))
    _, widened = UNET.read(open_checkpoint(tmp_path), "", jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {np.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(widened)} == {np.dtype(np.float32)}
    assert_same(widened, jax.tree.map(lambda leaf: leaf.astype(dtype).astype(np.float32), params))


def shard(folder, variant=""):
    """Split the weights into two files with an index, as diffusers does."""
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    keys, weight_map = sorted(tensors), {}
    for number, part in enumerate((keys[::2], keys[1::2]), start=1):
        name = f"diffusion_pytorch_model{variant}-0000{number}-of-00002.safetensors"
        save_file({key: tensors[key] for key in part}, folder / name)
        weight_map |= dict.fromkeys(part, name)
    index = folder / f"{WEIGHTS}.index{variant}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder / name


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_shards_read_as_one(folder, params, variant):
    shard(folder, variant)
    assert_same(UNET.read(open_checkpoint(folder))[1], params)


def test_fp16_variant_is_found(folder, params):
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.fp16.safetensors")
    assert_same(UNET.read(open_checkpoint(folder))[1], params)


def test_an_index_goes_by_its_other_name_too(folder, params):
    shard(folder, ".fp16")
    index = folder / f"{WEIGHTS}.index.fp16.json"
    index.rename(folder / "diffusion_pytorch_model.fp16.safetensors.index.json")
    assert_same(UNET.read(open_checkpoint(folder))[1], params)


def test_of_several_precisions_the_fullest_is_read_and_said(folder, params, caplog):
    caplog.set_level("INFO", "lisa_jax")
    save_file({"other": np.zeros(1, np.float16)}, folder / "diffusion_pytorch_model.fp16.safetensors")
    assert_same(UNET.read(open_checkpoint(folder))[1], params)
    assert f"{folder / WEIGHTS} is read, and not diffusion_pytorch_model.fp16.safetensors beside it." in caplog.text


def test_missing_shard_is_named(folder):
    last = shard(folder)
    last.unlink()
    with pytest.raises(CheckpointError, match=last.name):
        UNET.read(open_checkpoint(folder))


def test_truncated_file_is_named(folder):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is not a whole"):
        UNET.read(open_checkpoint(folder))


def test_missing_extra_and_misshapen_tensors_are_named(folder):
    path = folder / WEIGHTS
    tensors = load_file(path)
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.weight"
    save_file({name: tensor for name, tensor in tensors.items() if name != key}, path)
    with pytest.raises(CheckpointError, match=f"missing.*{key}"):
        UNET.read(open_checkpoint(folder))
    save_file(tensors | {"mid_block.lora.weight": tensors[key]}, path)
    with pytest.raises(CheckpointError, match=r"unexpected.*mid_block\.lora\.weight"):
        UNET.read(open_checkpoint(folder))
    save_file(tensors | {key: tensors[key][:, :2].copy()}, path)
    with pytest.raises(CheckpointError, match=rf"{key}.*\(4, 2\).*\(4, 4\)"):
        UNET.read(open_checkpoint(folder))


def test_pickle_is_refused(folder):
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"\.bin is a pickle.*safe_serialization"):
        UNET.read(open_checkpoint(folder))


def test_a_folder_that_was_being_written_again_is_no_network_until_it_is_whole(folder, config, params, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(component, "write_params", killed)
        with pytest.raises(KeyboardInterrupt):
            UNET.write(folder, config, params)
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        UNET.read(open_checkpoint(folder))
    UNET.write(folder, config, params)
    assert_same(UNET.read(open_checkpoint(folder))[1], params)


def test_folder_without_config_or_weights_is_named(tmp_path, folder):
    with pytest.raises(CheckpointError, match=r"nowhere/config\.json is missing"):
        UNET.read(open_checkpoint(tmp_path), "nowhere")
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is missing"):
        UNET.read(open_checkpoint(folder))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("class_embed_type", "timestep"),
        ("num_class_embeds", 1000),
        ("addition_embed_type", "image_hint"),
        ("encoder_hid_dim", 4),
        ("dual_cross_attention", True),
        ("resnet_time_scale_shift", "scale_shift"),
        ("time_embedding_type", "fourier"),
        ("attention_type", "gated"),
        ("act_fn", "gelu"),
        ("mid_block_type", "UNetMidBlock2DSimpleCrossAttn"),
        ("down_block_types", ["AttnDownBlock2D", "DownBlock2D"]),
        ("down_block_types", ["DownBlock2D"]),
        ("up_block_types", ["UpBlock2D", "SkipUpBlock2D"]),
        ("transformer_layers_per_block", [[1], [1]]),
        ("cross_attention_dim", [6, 6]),
        ("norm_num_groups", None),
        ("attention_head_dim", 3),
        ("attention_head_dim", [2, 2, 2]),
        ("block_out_channels", 8),
        ("an_unknown_field", 1),
    ],
)
def test_unsupported_unet_config_is_refused_by_name(field, value):
    with pytest.raises(CheckpointError, match=field) as refusal:
        UNET.config_file.parse(TINY | {field: value})
    assert str(refusal.value).count("\n") == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers_per_block", [1, 1]),
        ("controlnet_conditioning_channel_order", "gbr"),
        ("conditioning_embedding_out_channels", []),
        ("addition_embed_type", "text"),
        ("num_attention_heads", [2]),
        ("mid_block_type", None),
    ],
)
def test_unsupported_controlnet_config_is_refused_by_name(field, value):
    shared = {name: value for name, value in TINY.items() if name not in ("up_block_types", "sample_size")}
    with pytest.raises(CheckpointError, match=field):
        CONTROLNET.config_file.parse(shared | {field: value})


def test_class_of_another_component_is_refused():
    with pytest.raises(CheckpointError, match="ControlNetModel"):
        UNET.config_file.parse({"_class_name": "ControlNetModel"})


def test_config_survives_a_round_trip_through_json():
    config = UNET.config_file.parse(TINY)
    assert UNET.config_file.parse(json.loads(json.dumps(UNET.config_file.fields(config)))) == config
    side = controlnet_config_from_unet(config, (4, 8), controlnet_conditioning_channel_order="bgr")
    assert CONTROLNET.config_file.parse(json.loads(json.dumps(CONTROLNET.config_file.fields(side)))) == side


@pytest.mark.parametrize("change", [{"conv_in_kernel": 5}, {"center_input_sample": True}, {"layers_per_block": (1, 2)}])
def test_unet_that_no_controlnet_fits_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        controlnet_config_from_unet(dataclasses.replace(UNET.config_file.parse(TINY), **change))


def count(table):
    return sum(int(np.prod(entry.shape)) for entry in table.values())


def test_autoencoder_folder_round_trip(tmp_path):
    config = VAE.config_file.parse(
        {
            "block_out_channels": [4, 8],
            "down_block_types": ["DownEncoderBlock2D"] * 2,
            "up_block_types": ["UpDecoderBlock2D"] * 2,
            "norm_num_groups": 2,
            "shift_factor": 0.06,
            "use_quant_conv": False,
        }
    )
    params = random_params(VAE.key_table(config))
    assert "quant_conv" not in params and "post_quant_conv" in params
    VAE.write(tmp_path, config, params)
    again, read = VAE.read(open_checkpoint(tmp_path))
    assert again == config == VAE.config_file.parse(json.loads(json.dumps(VAE.config_file.fields(config))))
    assert_same(read, params)


def test_written_file_is_that_of_the_safetensors_library(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"b.weight": (3, 5), "a": (), "a.ü": (0, 4), "c": (2, 1, 2)}
    tensors = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    tensors["half"] = tensors["c"].astype(jnp.bfloat16)
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    specs = {key: (tensor.shape, tensor.dtype) for key, tensor in tensors.items()}
    write_safetensors(tmp_path / "ours", specs, tensors.get, {"format": "pt"})
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    with pytest.raises(ValueError, match=r"tensor .* is float32 .* announced"):
        write_safetensors(tmp_path / "ours", specs, lambda key: tensors[key].T, {})


def test_a_file_that_there_is_no_room_for_is_named(tmp_path):
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_safetensors(tmp_path / "a", {"w": ((64, 64), np.float32)}, lambda key: np.zeros((64, 64), "f4"), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "a") and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def many_maps():
    """Key table and float32 tree of 40 linear maps of 256 KB each, 10 MB."""
    table = key_table({f"map_{i}": {"kernel": jax.ShapeDtypeStruct((256, 256), jnp.float32)} for i in range(40)}, ())
    return table, random_params(table)


def peak_memory(function):
    """Result of the function, and the most that Python and numpy held while it ran."""
    tracemalloc.start()
    result = function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, peak


LARGEST, SLACK = 256 * 1024, 200_000


def test_reading_holds_no_second_copy(tmp_path, many_maps):
    table, params = many_maps
    write_params(tmp_path, params, table)
    for dtype, bytes_a_number in ((None, 4), (jnp.bfloat16, 2)):
        tree, peak = peak_memory(lambda dtype=dtype: read_params(open_checkpoint(tmp_path).tensors(), table, dtype))
        assert peak < 40 * 256 * 256 * bytes_a_number + 2 * LARGEST + SLACK
        assert all(leaf.flags.owndata for leaf in jax.tree.leaves(tree)), "the file would stay mapped"
    tensors = open_checkpoint(tmp_path).tensors()
    _, peak = peak_memory(lambda: read_params(tensors, table, placement=lambda path, array: array.sum()))
    assert peak < 2 * LARGEST + SLACK


def test_writing_holds_no_second_copy(tmp_path, many_maps):
    table, params = many_maps
    _, peak = peak_memory(lambda: write_params(tmp_path, params, table, jnp.float16))
    assert peak < 3 * LARGEST + SLACK
    assert_same(
        read_params(open_checkpoint(tmp_path).tensors(), table),
        jax.tree.map(lambda leaf: leaf.astype(np.float16), params),
    )


def test_weights_that_overflow_in_the_files_dtype_are_named(tmp_path):
    table = key_table({"a": {"bias": jax.ShapeDtypeStruct((2,), jnp.float32)}}, ())
    params = {"a": {"bias": np.asarray([1.0, 70000.0], np.float32)}}
    with pytest.raises(ValueError, match=r"^Tensor a\.bias is not finite in float16: write it in float32\.$"):
        write_params(tmp_path, params, table, jnp.float16)
    assert not list(tmp_path.glob("*.safetensors"))
    write_params(tmp_path, params, table, jnp.bfloat16)


def test_leaves_go_where_the_placement_says(folder, config, params):
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    _, placed = UNET.read(open_checkpoint(folder), "", jnp.bfloat16, device)
    assert all(isinstance(leaf, jax.Array) and leaf.sharding == device for leaf in jax.tree.leaves(placed))
    assert_same(placed, jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params))
    _, paths = UNET.read(open_checkpoint(folder), placement=lambda path, array: (path, array.shape))
    assert paths["mid_block"]["resnets_0"]["conv1"]["kernel"] == ("mid_block/resnets_0/conv1/kernel", (3, 3, 8, 8))


def test_sizes_of_stable_diffusion():
    sd21, sd15 = UNET.config_file.parse(SD21), UNetConfig(cross_attention_dim=768)
    table = UNET.key_table(sd21)
    assert (len(table), count(table)) == (686, 865_910_724)
    side = controlnet_config_from_unet(sd21)
    table = CONTROLNET.key_table(side)
    assert (len(table), count(table)) == (340, 364_228_240)
    assert count(UNET.key_table(sd15)) == 859_520_964
    assert count(CONTROLNET.key_table(controlnet_config_from_unet(sd15))) == 361_279_120
    shapes = feature_shapes(side, 64, 64)
    assert list(shapes) == [*(f"down_{i}" for i in range(12)), "mid"]
    assert shapes["down_5"] == (32, 32, 640) and shapes["mid"] == (8, 8, 1280)
