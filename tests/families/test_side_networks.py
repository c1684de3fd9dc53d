"""Side networks that are copied, smaller or continued: what they start from, where they reach, what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.side_network import SMALL_CONTROLNET
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of, write_random_base
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.registry import load_family
from lisa_jax.families.unet_control import controlnet_side, unet_functions
from lisa_jax.models.controlnet import controlnet_config_from_unet, feature_names, residual_channels
from lisa_jax.models.small_controlnet import small_controlnet_config
from lisa_jax.models.unet import UNet, UNetConfig

NAME = "edges"
KEY = jax.random.key(0, impl="rbg")
TINY = preset_of("tiny_sd21")

UNET_CONFIG = UNetConfig(
    block_out_channels=(8, 16),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D"),
    layers_per_block=2,
    attention_head_dim=2,
    norm_num_groups=4,
    cross_attention_dim=8,
)
FULL = controlnet_config_from_unet(UNET_CONFIG, (4, 8))
SMALLER = {
    "narrow": {"block_out_channels": (4, 6)},
    "shallow": {"layers_per_block": 1},
    "fine": {"block_out_channels": (8,)},
    "all": {"block_out_channels": (6,), "layers_per_block": 1},
}
DOWN = [f"down_{i}" for i in range(6)]
NAMES = {
    "narrow": (*DOWN, "mid"),
    "shallow": ("down_0", "down_2", "down_3", "down_5", "mid"),
    "fine": ("down_0", "down_1", "down_2"),
    "all": ("down_0", "down_2"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_random_base("tiny_sd21", tmp_path_factory.mktemp("side_networks") / "base")


def load(base, *, conditions=(NAME,), **settings):
    return load_family(base, Setup(conditions, condition_channels=(4, 8, 8, 16), **settings))


def names(tree):
    return {"/".join(step.key for step in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def initialised(family):
    """The float32 side networks at step 0, as the training loop makes them."""
    return jax.jit(family.model.init_side)(family.read_start(), KEY)


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_copy_starts_from_the_file_s_values_where_the_frozen_weights_are_rounded(base):
    family = load(base, frozen_dtype="bfloat16")
    unet = names(UNET.read(open_checkpoint(base), "unet")[1])
    side, frozen = names(initialised(family)[NAME]), names(family.frozen)
    copied = side.keys() & unet.keys()
    assert {name.split("/")[0] for name in copied} == {
        *("conv_in", "time_embedding", "mid_block"),
        *(f"down_blocks_{i}" for i in range(4)),
    }
    # What is read for it is no more than that.
    assert names(family.read_start()[NAME]).keys() == copied
    for name in copied:
        assert side[name].dtype == jnp.float32
        np.testing.assert_array_equal(side[name], unet[name])
    assert any(not np.array_equal(unet[name], frozen[name].astype(np.float32)) for name in copied)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in ("narrow", "shallow") else kind for kind in SMALLER]
)
def test_a_smaller_network_reaches_the_same_skips_and_starts_silent(kind):
    config = small_controlnet_config(FULL, **SMALLER[kind])
    trunk, predict, _ = unet_functions(UNet(UNET_CONFIG))
    network = controlnet_side(config, UNET_CONFIG.out_channels)
    x_t, t, context = normal(0, 2, 8, 8, 4), jnp.asarray([3.0, 900.0]), normal(1, 2, 3, 8)
    condition = normal(2, 2, 16, 16, 3)
    frozen = jax.tree.map(np.asarray, random_tree(UNET.key_table(UNET_CONFIG), seed=2))
    side = fresh(config)
    assert network.hooks == NAMES[kind] == feature_names(config)

    @jax.jit
    def run(side):
        of_unet = trunk(frozen, x_t, t, context)
        residuals, features = network.apply(side, of_unet, x_t, t, context, condition)
        return of_unet, residuals, features, predict(frozen, of_unet), predict(frozen, of_unet, residuals)

    of_unet, residuals, features, prior, prediction = run(side)
    np.testing.assert_array_equal(prediction, prior)
    assert tuple(features) == NAMES[kind] and all(np.any(feature) for feature in features.values())
    skips = dict(zip(residual_channels(config), (*of_unet.skips, of_unet.hidden), strict=True))
    for (name, skip), residual in zip(skips.items(), residuals, strict=True):
        assert residual.shape == (skip.shape if name in NAMES[kind] else (1, 1, 1, 1)), name
    assert sum(leaf.size for leaf in jax.tree.leaves(side)) < sum(
        np.prod(entry.shape) for entry in CONTROLNET.key_table(FULL).values()
    )

    trained = jax.tree.map(lambda leaf: leaf if np.any(leaf) else np.full_like(leaf, 0.1), side)
    assert np.abs(run(trained)[-1] - prior).max() > 1e-3
    decoder = jax.eval_shape(lambda key: network.init_decoder(key, "down_2"), KEY)
    aligned = jax.eval_shape(lambda *inputs: network.decode(*inputs, prediction.shape), decoder, features["down_2"], t)
    assert aligned.shape == prediction.shape


def fresh(config):
    """Random weights, and zero where a ControlNet is born so; making them by `init_side` would take long to compile."""
    side = jax.tree.map(np.asarray, random_tree(CONTROLNET.key_table(config), seed=3))
    born_zero = {name for name in side if name.startswith(("controlnet_down_blocks_", "controlnet_mid_block"))}
    return side | {name: jax.tree.map(np.zeros_like, side[name]) for name in born_zero}


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_layers_of_a_smaller_network_are_spread_over_those_of_the_unet():
    four = controlnet_config_from_unet(dataclasses.replace(UNET_CONFIG, layers_per_block=4))
    down = [name for name in feature_names(small_controlnet_config(four, (8,), 2)) if name != "mid"]
    assert down == ["down_0", "down_2", "down_4"]


def test_a_smaller_network_of_stable_diffusion_keeps_what_fits():
    sd21 = preset_of("sd21").controlnet
    half = small_controlnet_config(sd21, (160, 320, 640, 640))
    # As many heads as the UNet has, narrower ones; as many groups.
    assert half.heads == sd21.heads and half.norm_num_groups == 32
    quarter = small_controlnet_config(sd21, (80, 160, 320, 320))
    assert quarter.norm_num_groups == 16
    assert residual_channels(half) == residual_channels(sd21)
    fine = small_controlnet_config(sd21, (320, 640))
    assert feature_names(fine) == tuple(f"down_{i}" for i in range(6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_out_channels": (8, 8, 8)}, "3 levels, but the UNet only 2"),
        ({"block_out_channels": (4, 2048)}, "2048 channels at level 1, but the UNet only 16"),
        ({"layers_per_block": 3}, "layers_per_block 3 is not supported: 1 to 2"),
        ({"layers_per_block": 0}, "layers_per_block 0 is not supported: it must be a whole number, 1 to 32"),
    ],
)
def test_a_network_that_is_not_smaller_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        small_controlnet_config(FULL, **settings)


def test_a_smaller_network_of_stable_diffusion_xl_keeps_the_depth_of_each_level_and_the_added_embedding():
    sdxl = controlnet_config_from_unet(preset_of("sdxl").unet)
    half = small_controlnet_config(sdxl, (160, 320, 640))
    assert half.transformer_layers_per_block == (1, 2, 10) and half.heads == (5, 10, 20) and half.pooled_dim == 1280
    fine = small_controlnet_config(sdxl, (320, 640), 1)
    assert fine.transformer_layers_per_block == (1, 2) and not fine.has_mid_block
    assert feature_names(fine) == ("down_0", "down_2", "down_3", "down_5")
    assert residual_channels(half) == residual_channels(fine) == residual_channels(sdxl)


@pytest.mark.parametrize(
    "settings",
    [{"layers_per_block": 1}, pytest.param({"block_out_channels": (8, 16)}, marks=pytest.mark.slow)],
    ids=["shallow", "narrow"],
)
def test_a_smaller_network_of_stable_diffusion_xl_is_silent_at_first_written_read_and_continued(tmp_path, settings):
    base = write_random_base("tiny_sdxl", tmp_path / "base")
    family = load(base, **settings)
    side, start = initialised(family)[NAME], names(family.read_start()[NAME])
    # As wide as the base's, or not.
    is_narrow = "block_out_channels" in settings
    assert ("add_embedding/linear_1/kernel" in start) != is_narrow
    for name, leaf in start.items():
        np.testing.assert_array_equal(names(side)[name], leaf)
    deep = [name for name in names(side) if "down_blocks_2/attentions_0/transformer_blocks_1/" in name]
    assert bool(deep) != is_narrow and all(name in start for name in deep)
    shapes = jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape), leaf.dtype), family.conditioner.shapes)
    condition = {NAME: jnp.ones((2, 64, 64, 3))}
    run = jax.jit(family.model.side)
    residuals, features = run({NAME: side}, None, jnp.ones((2, 8, 8, 4)), jnp.ones((2,)), shapes, condition)
    assert not any(np.any(residual) for residual in residuals) and len(residuals) == 9 + 1
    assert tuple(features) == family.model.hooks
    family.write_side(tmp_path / "side", NAME, side)
    assert_trees_equal(initialised(load(base, start_from={NAME: tmp_path / "side"}))[NAME], side)


def test_layers_that_fit_are_copied_whole_and_others_are_fresh(base):
    family = load(base, block_out_channels=(16, 32, 16, 32), layers_per_block=1)
    unet, start = names(UNET.read(open_checkpoint(base), "unet")[1]), names(family.read_start()[NAME])
    assert_trees_equal(start, {name: unet[name] for name in start})
    layers = {name.rpartition("/")[0] for name in start}
    assert {"conv_in", "down_blocks_0/resnets_0/conv1", "down_blocks_1/resnets_0/conv1"} <= layers
    # Its inputs are as many as the UNet's, its outputs are not; and the other way round.
    assert not {"down_blocks_2/resnets_0/conv1", "down_blocks_3/resnets_0/conv1"} & layers
    # The bias alone would fit.
    assert "down_blocks_3/resnets_0/conv_shortcut" not in layers
    side = names(initialised(family)[NAME])
    for name, leaf in start.items():
        np.testing.assert_array_equal(side[name], leaf)


def test_a_smaller_network_is_written_read_and_continued_but_not_as_a_controlnet(base, tmp_path):
    family = load(base, block_out_channels=(8, 16), layers_per_block=1)
    side = initialised(family)[NAME]
    silent = {name: leaf for name, leaf in names(side).items() if name.startswith("controlnet_down_blocks_")}
    assert len(silent) == 8 and not any(np.any(leaf) for leaf in silent.values())
    family.write_side(tmp_path, NAME, side)
    config, params = SMALL_CONTROLNET.read(open_checkpoint(tmp_path))
    assert_trees_equal(params, side)
    assert open_checkpoint(tmp_path).config()["_class_name"] == "LisaJaxSideNetwork"
    again = load(base, start_from={NAME: tmp_path})
    assert again.model.hooks == family.model.hooks == ("down_0", "down_2", "down_3", "down_5")
    assert_trees_equal(initialised(again)[NAME], side)
    with pytest.raises(ValueError, match="SmallControlNetConfig cannot be written as a ControlNetConfig"):
        CONTROLNET.write(tmp_path / "controlnet", config, params)
    assert not (tmp_path / "controlnet").exists()


def write_random_controlnet(folder, dtype=None, **fields):
    config = dataclasses.replace(TINY.controlnet, **fields)
    params = random_tree(CONTROLNET.key_table(config), seed=1)
    CONTROLNET.write(folder, config, params, dtype)
    return params


def test_a_controlnet_is_continued_with_its_own_config(base, tmp_path):
    written = write_random_controlnet(
        tmp_path / "start",
        jnp.float16,
        controlnet_conditioning_channel_order="bgr",
        conditioning_embedding_out_channels=(4, 8, 8, 8),
    )
    family = load(base, start_from={NAME: tmp_path / "start"})
    assert {leaf.dtype for leaf in jax.tree.leaves(family.read_start())} == {np.dtype(np.float16)}
    side = initialised(family)[NAME]
    assert_trees_equal(side, jax.tree.map(lambda leaf: np.asarray(leaf, np.float16).astype(np.float32), written))
    family.write_side(tmp_path / "half", NAME, side, jnp.float16)
    half, start = open_checkpoint(tmp_path / "half"), open_checkpoint(tmp_path / "start")
    assert half.config() == start.config()
    assert_trees_equal(CONTROLNET.read(half)[1], family.read_start()[NAME])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cross_attention_dim": 24}, "cross_attention_dim 24, but the UNet 32: it belongs to another base"),
        ({"in_channels": 9}, "in_channels 9, but the UNet 4"),
        (
            {"conditioning_channels": 4},
            "conditioning_channels 4, but the data's condition has 3: prepare",
        ),
        ({"conditioning_channels": 5}, "conditioning_channels 5"),
        ({"layers_per_block": 1}, r"9 residuals and the UNet takes 13; .* down_2 is \(32, 32, 16\) .* \(64, 64, 16\)"),
        ({"block_out_channels": (16, 32, 32, 16)}, r"down_10 is \(8, 8, 16\) and should be \(8, 8, 32\)"),
    ],
)
def test_a_controlnet_of_another_base_is_refused(base, tmp_path, fields, message):
    config = dataclasses.replace(TINY.controlnet, **fields)
    (tmp_path / "config.json").write_text(json.dumps(CONTROLNET.config_file.fields(config)))
    with pytest.raises(CheckpointError, match=message):
        load(base, start_from={NAME: tmp_path}, conditioning_channels={NAME: 3})


@pytest.mark.parametrize("channels", [1, 4])
def test_a_controlnet_of_other_channels_goes_on_beside_data_of_as_many(base, tmp_path, channels):
    new = load(base, conditioning_channels={NAME: channels})
    side = initialised(new)[NAME]
    assert side["controlnet_cond_embedding"]["conv_in"]["kernel"].shape == (3, 3, channels, 4)
    new.write_side(tmp_path, NAME, side)
    assert json.loads((tmp_path / "config.json").read_text())["conditioning_channels"] == channels
    # Without data, as where folders are sampled with, the folder says it.
    for asked in ({NAME: channels}, {}):
        family = load(base, start_from={NAME: tmp_path}, conditioning_channels=asked)
        assert family.channels_of(NAME) == channels
        assert_trees_equal(family.read_start()[NAME], side)


def test_settings_that_contradict_each_other_are_refused(base, tmp_path):
    write_random_controlnet(tmp_path)
    with pytest.raises(ValueError, match="taken as it is: unset block_out_channels, layers_per_block and lora_rank"):
        load(base, start_from={NAME: tmp_path}, layers_per_block=1)
    with pytest.raises(ValueError, match="num_layers is 2, but is of transformers: beside a UNet unset it"):
        load(base, num_layers=2)
    with pytest.raises(ValueError, match="start_from names depth, but the conditions are pose, seg"):
        load(base, conditions=("pose", "seg"), start_from={"depth": tmp_path})
    with pytest.raises(ValueError, match="must be different names"):
        load(base, conditions=("pose", "pose"))
    with pytest.raises(CheckpointError, match="nowhere is missing"):
        load(base, start_from={NAME: tmp_path / "nowhere"})
    family = load(base)
    with pytest.raises(ValueError, match=r"cannot start from conv_in/kernel of shape \(3, 3, 4, 8\): its own is"):
        jax.eval_shape(family.model.init_side, {NAME: {"conv_in": {"kernel": jnp.zeros((3, 3, 4, 8))}}}, KEY)


def test_several_side_networks_one_new_and_one_continued(base, tmp_path):
    written = write_random_controlnet(tmp_path / "start")
    family = load(base, conditions=("pose", "seg"), start_from={"seg": tmp_path / "start"})
    assert set(family.read_start()) == {"pose", "seg"} == set(family.model.sides)
    side = initialised(family)
    assert_trees_equal(side["seg"], jax.tree.map(np.asarray, written))
    assert not np.any(side["pose"]["controlnet_mid_block"]["kernel"])
    for name in ("pose", "seg"):
        family.write_side(tmp_path / name, name, side[name])
        assert_trees_equal(CONTROLNET.read(open_checkpoint(tmp_path / name))[1], side[name])
