"""UNet against diffusers' `UNet2DConditionModel` on the same weights, float32, and its folders in both directions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.models.layers import Conv, Linear
from lisa_jax.models.unet import UNet

TOLERANCE = 1e-5

INERT = {  # what diffusers reads for other kinds of blocks, beside other embeddings or in training alone
    "dropout": 0.3,
    "addition_embed_type_num_heads": 4,
    "addition_time_embed_dim": 6,
    "projection_class_embeddings_input_dim": 10,
    "cross_attention_norm": "layer_norm",
    "mid_block_only_cross_attention": True,
    "resnet_out_scale_factor": 2.0,
    "resnet_skip_time_act": True,
}
SD15 = INERT | {  # convolutional projections, one number of heads
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
}
SD21 = {  # linear projections, heads a level, upcast
    "block_out_channels": (8, 16, 16, 16),
    "attention_head_dim": [1, 2, 2, 4],
    "use_linear_projection": True,
    "upcast_attention": True,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
}
UNUSUAL = {  # every other switch at a value that is not the default
    "in_channels": 5,
    "out_channels": 3,
    "block_out_channels": (9, 18),
    "norm_num_groups": 3,
    "norm_eps": 1e-3,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1.5,
    "layers_per_block": [2, 1],
    "transformer_layers_per_block": [1, 2],
    "only_cross_attention": [False, True],
    "attention_head_dim": 3,
    "cross_attention_dim": 12,
    "downsample_padding": 0,
    "conv_in_kernel": 5,
    "conv_out_kernel": 1,
    "center_input_sample": True,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
SMALL = {
    "block_out_channels": (8, 8),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "mid_block_type": None,
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
}

CASES = {
    "sd15_odd": (SD15, (9, 13)),
    "sd21": (SD21, (8, 16)),
    "unusual_odd": (UNUSUAL, (7, 10)),
    "no_mid": (SMALL, (6, 4)),
}


def make(config, randomise):
    model = UNet2DConditionModel(**config).eval()
    randomise([parameter for name, parameter in model.named_parameters() if "norm" in name], std=1.0)
    return model


def inputs(config, size):
    x_t = torch.randn(2, config.get("in_channels", 4), *size)
    return x_t, torch.tensor([3.25, 997.0]), torch.randn(2, 5, config["cross_attention_dim"])


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_prediction_equals_diffusers_with_and_without_residuals(name, tmp_path, to_jax, run, max_difference, randomise):
    config, size = CASES[name]
    theirs = make(config, randomise)
    theirs.save_pretrained(tmp_path)
    ours_config, params = UNET.read(open_checkpoint(tmp_path))
    x_t, t, context = inputs(config, size)
    ours = UNet(ours_config)

    def both(params, x_t, t, context, draw):
        trunk = ours.apply({"params": params}, x_t, t, context, method="encode")
        residuals = tuple(draw[: a.size].reshape(a.shape) for a in (*trunk.skips, trunk.hidden))
        with_residuals = ours.apply({"params": params}, trunk, residuals, method="decode")
        return ours.apply({"params": params}, trunk, method="decode"), with_residuals, residuals

    draw = jax.random.normal(jax.random.key(0), (2 * 18 * size[0] * size[1],))
    plain, controlled, residuals = run(both, params, to_jax(x_t), to_jax(t), to_jax(context), draw)
    *down, mid = (torch.from_numpy(np.array(r)).permute(0, 3, 1, 2) for r in residuals)
    expected = theirs(x_t, t, context).sample
    expected_controlled = theirs(
        x_t, t, context, down_block_additional_residuals=tuple(down), mid_block_additional_residual=mid
    ).sample
    difference = max_difference((expected, expected_controlled), (plain, controlled))
    print(f"{name}: max abs difference {difference:.1e} of {float(expected.abs().max()):.2f}")
    assert difference <= TOLERANCE
    assert max_difference((expected,), (controlled,)) > 0.1, "the residuals had no effect"


@torch.no_grad()
def test_written_folder_loads_in_diffusers_with_the_same_output(tmp_path, randomise):
    theirs = make(SD15, randomise)
    theirs.save_pretrained(tmp_path / "theirs")
    config, params = UNET.read(open_checkpoint(tmp_path / "theirs"))
    UNET.write(tmp_path / "ours", config, params)
    again = UNet2DConditionModel.from_pretrained(tmp_path / "ours", local_files_only=True).eval()
    sample = inputs(SD15, (8, 8))
    assert torch.equal(theirs(*sample).sample, again(*sample).sample)
    assert UNET.config_file.fields(config).keys() == set(json.loads((tmp_path / "theirs" / "config.json").read_text()))


def tensors(folder):
    (path,) = folder.glob("*.safetensors")
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_read_then_write_keeps_every_byte(dtype, tmp_path, randomise):
    make(SD21, randomise).to(dtype).save_pretrained(tmp_path / "theirs")
    UNET.write(tmp_path / "ours", *UNET.read(open_checkpoint(tmp_path / "theirs")))
    before, after = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert after[key].dtype == dtype and torch.equal(tensor, after[key]), key


def test_shards_and_fp16_variants_read_as_the_whole_file(tmp_path, randomise):
    model = make(SD21, randomise).half()
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="60KB")
    model.save_pretrained(tmp_path / "variant", variant="fp16")
    model.save_pretrained(tmp_path / "both", variant="fp16", max_shard_size="60KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    _, whole = UNET.read(open_checkpoint(tmp_path / "whole"), "", jnp.float32)
    for folder in ("shards", "variant", "both"):
        jax.tree.map(
            np.testing.assert_array_equal, UNET.read(open_checkpoint(tmp_path / folder), "", jnp.float32)[1], whole
        )


def test_sharing_the_trunk_changes_nothing(tmp_path, to_jax, run, randomise):
    make(SMALL, randomise).save_pretrained(tmp_path)
    config, params = UNET.read(open_checkpoint(tmp_path))
    model = UNet(config)
    sample = tuple(map(to_jax, inputs(SMALL, (9, 6))))
    trunk = run(lambda p, *a: model.apply({"params": p}, *a, method="encode"), params, *sample)
    residuals = tuple(0.1 * jnp.ones_like(a) for a in (*trunk.skips, trunk.hidden))
    for control in (None, residuals):
        shared = run(lambda p, trunk, c=control: model.apply({"params": p}, trunk, c, method="decode"), params, trunk)
        full = run(lambda p, *a, c=control: model.apply({"params": p}, *a, c), params, *sample)
        np.testing.assert_array_equal(shared, full)
    with pytest.raises(ValueError, match="residuals given"):
        model.apply({"params": params}, trunk, residuals[:-1], method="decode")


def test_bfloat16_runs_near_float32(tmp_path, to_jax, run, randomise):
    sd21 = SMALL | {"use_linear_projection": True, "attention_head_dim": [1, 4], "upcast_attention": True}
    make(sd21 | {"mid_block_type": "UNetMidBlock2DCrossAttn"}, randomise).save_pretrained(tmp_path)
    config, params = UNET.read(open_checkpoint(tmp_path))
    sample = tuple(map(to_jax, inputs(sd21, (8, 8))))
    exact = run(lambda p, *a: UNet(config).apply({"params": p}, *a), params, *sample)
    rough = run(lambda p, *a: UNet(config, dtype=jnp.bfloat16).apply({"params": p}, *a), params, *sample)
    assert rough.dtype == jnp.bfloat16
    relative = jnp.linalg.norm(rough.astype(jnp.float32) - exact) / jnp.linalg.norm(exact)
    print(f"bfloat16: relative difference {float(relative):.1e}")
    assert relative < 0.03


def test_remat_recomputes_every_resnet_and_transformer_block_of_the_same_parameters():
    config = UNET.config_file.parse(SMALL)
    shapes = [(1, 2, 2, 4), (1,), (1, 1, 12)]

    def recomputed_blocks(remat):
        model = UNet(config, remat=remat)
        params = jax.eval_shape(model.init, jax.random.key(0), *map(jnp.zeros, shapes))
        return str(jax.make_jaxpr(model.apply)(params, *map(jnp.zeros, shapes))).count("prevent_cse="), params

    (none, params), (count, params_of_remat) = recomputed_blocks("none"), recomputed_blocks("full")
    assert params == params_of_remat
    assert (none, count) == (0, 2 + 4 + 1 + 2)  # resnets down and up, transformer blocks down and up


@pytest.mark.parametrize(
    ("theirs", "ours", "shape"),
    [
        (torch.nn.Linear(96, 40), Linear(40), (1, 96)),
        (torch.nn.Conv2d(12, 40, 3), Conv(40), (1, 3, 3, 12)),
        (torch.nn.Conv2d(96, 40, 1), Conv(40, kernel_size=1, padding=0), (1, 3, 3, 96)),
    ],
)
def test_fresh_layers_are_distributed_as_in_pytorch(theirs, ours, shape):
    params = ours.init(jax.random.key(0), jnp.zeros(shape))["params"]
    for leaf, expected in ((params["kernel"], theirs.weight), (params["bias"], theirs.bias)):
        bound = 1 / np.sqrt(params["kernel"][..., 0].size)
        assert leaf.size == expected.numel() and leaf.dtype == jnp.float32
        assert 0.9 * bound < float(jnp.abs(leaf).max()) <= bound
        assert float(jnp.std(leaf)) == pytest.approx(float(expected.detach().std()), rel=0.25)
