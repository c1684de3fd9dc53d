"""ControlNet against diffusers' `ControlNetModel` on the same weights, float32, and its folders in both directions."""

import json

import jax
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from tiny_sd import build_tiny_sd

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family
from lisa_jax.families.side_networks import start_params
from lisa_jax.models.controlnet import ControlNet, controlnet_config_from_unet, feature_shapes
from lisa_jax.models.unet import UNet

TOLERANCE = 1e-5

SD15_BGR = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "conditioning_embedding_out_channels": (4, 8),
    "controlnet_conditioning_channel_order": "bgr",
}
SD21 = {
    "block_out_channels": (8, 16, 16, 16),
    "attention_head_dim": [1, 2, 2, 4],
    "use_linear_projection": True,
    "upcast_attention": True,
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 12,
    "conditioning_embedding_out_channels": (4, 6, 8, 8),
}
UNUSUAL = {
    "in_channels": 5,
    "conditioning_channels": 4,
    "block_out_channels": (9, 18),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1.5,
    "layers_per_block": 1,
    "transformer_layers_per_block": [1, 2],
    "only_cross_attention": [False, True],
    "attention_head_dim": 9,
    "num_attention_heads": 3,
    "norm_num_groups": 3,
    "norm_eps": 1e-3,
    "cross_attention_dim": 12,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "conditioning_embedding_out_channels": (6,),
    "global_pool_conditions": True,
}
# Of embeddings that no such network has.
INERT = {
    "addition_embed_type_num_heads": 4,
    "addition_time_embed_dim": 6,
    "projection_class_embeddings_input_dim": 10,
}
CASES = {
    "sd15_bgr_odd": (SD15_BGR | INERT, (9, 13)),
    "sd21": (SD21, (5, 6)),
    "unusual_pooled": (UNUSUAL, (7, 10)),
}


def make(config, randomise):
    model = ControlNetModel(**config).eval()
    randomise([parameter for name, parameter in model.named_parameters() if "norm" in name], std=1.0)
    randomise_zero_convolutions(model, randomise)
    return model


def randomise_zero_convolutions(model, randomise):
    randomise(model.controlnet_cond_embedding.conv_out.parameters())
    randomise(model.controlnet_down_blocks.parameters())
    randomise(model.controlnet_mid_block.parameters())


def inputs(config, size):
    factor = 2 ** (len(config["conditioning_embedding_out_channels"]) - 1)
    x_t = torch.randn(2, config.get("in_channels", 4), *size)
    condition = torch.rand(2, config.get("conditioning_channels", 3), size[0] * factor, size[1] * factor)
    return x_t, torch.tensor([3.25, 997.0]), torch.randn(2, 5, config["cross_attention_dim"]), condition


def hook_features(model):
    """Collect what goes into every zero convolution of the next call, in the order of the residuals."""
    features = []
    for convolution in (*model.controlnet_down_blocks, model.controlnet_mid_block):
        convolution.register_forward_pre_hook(lambda _, arguments: features.append(arguments[0].detach()))
    return features


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_residuals_and_features_equal_diffusers(name, tmp_path, to_jax, run, max_difference, randomise):
    config, size = CASES[name]
    theirs = make(config, randomise)
    theirs.save_pretrained(tmp_path)
    sample = inputs(config, size)
    expected_features = hook_features(theirs)
    expected = theirs(*sample)

    ours_config, params = CONTROLNET.read(open_checkpoint(tmp_path))
    residuals, features = run(
        lambda p, *a: ControlNet(ours_config).apply({"params": p}, *a), params, *map(to_jax, sample)
    )
    shapes = feature_shapes(ours_config, *size)
    assert {key: feature.shape[1:] for key, feature in features.items()} == shapes
    differences = (
        max_difference((*expected.down_block_res_samples, expected.mid_block_res_sample), residuals),
        max_difference(expected_features, [features[key] for key in shapes]),
    )
    print(f"{name}: max abs difference of residuals {differences[0]:.1e}, of features {differences[1]:.1e}")
    assert max(differences) <= TOLERANCE
    if config.get("global_pool_conditions"):
        assert all(residual.shape[1:3] == (1, 1) for residual in residuals)


@torch.no_grad()
def test_controlled_prediction_from_one_unet_equals_diffusers(tmp_path, to_jax, run, max_difference, randomise):
    config = {key: value for key, value in SD15_BGR.items() if not key.startswith(("conditioning", "controlnet"))}
    config |= {"block_out_channels": (8, 16), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}
    config |= {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "layers_per_block": 1}
    unet = UNet2DConditionModel(**config).eval()
    unet.save_pretrained(tmp_path / "unet")
    unet_config, unet_params = UNET.read(open_checkpoint(tmp_path), "unet")
    theirs = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8)).eval()
    ours_config = controlnet_config_from_unet(unet_config, conditioning_embedding_out_channels=(4, 8))
    ours = ControlNet(ours_config)

    x_t, t, context, _ = sample = inputs(SD15_BGR, (6, 9))
    fresh = jax.tree.map(  # shapes only: initialisation is tested with the UNet
        lambda leaf: np.full(leaf.shape, 0.5, np.float32),
        jax.eval_shape(ours.init, jax.random.key(0), *map(to_jax, sample))["params"],
    )
    params = start_params(fresh, unet_params)
    CONTROLNET.write(tmp_path / "ours", ours_config, params)
    theirs.save_pretrained(tmp_path / "theirs")
    ours_json, theirs_json = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("ours", "theirs"))
    assert ours_json == theirs_json
    again = ControlNetModel.from_pretrained(tmp_path / "ours", local_files_only=True).state_dict()
    for key, tensor in theirs.state_dict().items():
        if key.startswith("controlnet_"):
            assert bool((again[key] == 0.5).all()), f"{key} must stay fresh"
        else:
            assert torch.equal(again[key], tensor), key

    randomise_zero_convolutions(theirs, randomise)
    theirs.save_pretrained(tmp_path / "trained")
    down, mid = theirs(*sample, return_dict=False)
    expected = unet(x_t, t, context, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
    _, params = CONTROLNET.read(open_checkpoint(tmp_path / "trained"))

    def controlled(unet_params, params, x_t, t, context, condition):
        residuals, _ = ours.apply({"params": params}, x_t, t, context, condition)
        return UNet(unet_config).apply({"params": unet_params}, x_t, t, context, residuals)

    difference = max_difference((expected,), (run(controlled, unet_params, params, *map(to_jax, sample)),))
    print(f"controlled: max abs difference {difference:.1e}")
    assert difference <= TOLERANCE


@torch.no_grad()
def test_masters_beside_a_bfloat16_base_equal_diffusers_from_unet_exactly(tmp_path):
    build_tiny_sd(tmp_path / "base", "sd15")
    family = load_family(tmp_path / "base", Setup(("edges",), frozen_dtype="bfloat16"))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(family.frozen)} == {"bfloat16"}
    side = jax.jit(family.model.init_side)(family.read_start(), jax.random.key(0, impl="rbg"))
    family.write_side(tmp_path / "ours", "edges", side["edges"])
    ours = ControlNetModel.from_pretrained(tmp_path / "ours", local_files_only=True)
    theirs = ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(tmp_path / "base" / "unet"))
    state, compared = ours.state_dict(), 0
    for name, tensor in theirs.state_dict().items():
        # The condition's encoder is drawn at random, its last convolution is zero as all others.
        if not name.startswith("controlnet_cond_embedding.") or "conv_out" in name:
            assert state[name].dtype == torch.float32 and torch.equal(state[name], tensor), name
            compared += 1
    print(f"{compared} tensors are equal bit for bit")


@torch.no_grad()
def test_a_controlnet_of_diffusers_is_continued_exactly(tmp_path, to_jax, run, max_difference, randomise):
    base = build_tiny_sd(tmp_path / "base", "sd21")
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    theirs = ControlNetModel.from_unet(unet, "bgr", conditioning_embedding_out_channels=(4, 8, 8, 12)).eval()
    randomise_zero_convolutions(theirs, randomise)
    theirs.half().save_pretrained(tmp_path / "start", variant="fp16")
    family = load_family(base, Setup(("edges",), start_from={"edges": tmp_path / "start"}, compute_dtype="float32"))
    side = jax.jit(family.model.init_side)(family.read_start(), jax.random.key(0))
    sample = inputs({"cross_attention_dim": 32, "conditioning_embedding_out_channels": (4, 8, 8, 12)}, (8, 8))
    down, mid = theirs.float()(*sample, return_dict=False)
    x_t, t, context, condition = map(to_jax, sample)
    residuals, _ = run(family.model.side, side, (), x_t, t, context, {"edges": condition})
    difference = max_difference((*down, mid), residuals)
    print(f"continued: max abs difference {difference:.1e}")
    assert difference <= TOLERANCE


@torch.no_grad()
def test_written_folder_loads_in_diffusers_with_the_same_output(tmp_path, randomise):
    theirs = make(UNUSUAL, randomise)
    theirs.save_pretrained(tmp_path / "theirs")
    config, params = CONTROLNET.read(open_checkpoint(tmp_path / "theirs"))
    CONTROLNET.write(tmp_path / "ours", config, params)
    again = ControlNetModel.from_pretrained(tmp_path / "ours", local_files_only=True).eval()
    sample = inputs(UNUSUAL, (6, 8))
    for before, after in zip(theirs(*sample, return_dict=False)[0], again(*sample, return_dict=False)[0], strict=True):
        assert torch.equal(before, after)
    notes = {"_class_name", "_diffusers_version", "_name_or_path"}
    ours_json, theirs_json = (open_checkpoint(tmp_path / name).config() for name in ("ours", "theirs"))
    assert ours_json.keys() | notes == theirs_json.keys() | notes
    assert all(ours_json[field] == theirs_json[field] for field in ours_json.keys() - notes)


def test_a_fresh_controlnet_is_zero_at_its_zero_convolutions_only(to_jax):
    one_level = {"block_out_channels": (9,), "down_block_types": ("DownBlock2D",), "only_cross_attention": False}
    model = ControlNet(CONTROLNET.config_file.parse(UNUSUAL | one_level | {"transformer_layers_per_block": 1}))
    (residuals, features), variables = model.init_with_output(
        jax.random.key(0, impl="rbg"), *map(to_jax, inputs(UNUSUAL, (4, 4)))
    )
    assert all(not np.any(residual) for residual in residuals)
    assert all(np.any(feature) for feature in features.values())
    kernels = {
        key.removesuffix(".weight"): leaf for key, leaf in leaves(model.config, variables["params"]) if leaf.ndim > 1
    }
    zero = {key for key, kernel in kernels.items() if not np.any(kernel)}
    convolutions = {"controlnet_cond_embedding.conv_out", "controlnet_mid_block"}
    assert zero == convolutions | {f"controlnet_down_blocks.{i}" for i in range(len(residuals) - 1)}


def leaves(config, params):
    for key, entry in CONTROLNET.key_table(config).items():
        leaf = params
        for name in entry.path:
            leaf = leaf[name]
        yield key, leaf


def test_a_condition_of_the_wrong_size_is_named(to_jax, tmp_path):
    ControlNetModel(**SD15_BGR).save_pretrained(tmp_path)
    config, params = CONTROLNET.read(open_checkpoint(tmp_path))
    x_t, t, context, condition = map(to_jax, inputs(SD15_BGR, (4, 4)))
    with pytest.raises(ValueError, match="must be 2 times"):
        jax.eval_shape(ControlNet(config).apply, {"params": params}, x_t, t, context, condition[:, :6])
    with pytest.raises(ValueError, match="cross_attention_dim is 12"):
        jax.eval_shape(ControlNet(config).apply, {"params": params}, x_t, t, context[..., :7], condition)
