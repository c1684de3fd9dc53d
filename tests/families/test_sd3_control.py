"""Side networks beside the transformer of Stable Diffusion 3: what a fresh one is, and what its first steps move."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.alignment import Alignment, add_noise, lisa_loss
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.dual_branch import DualBranch
from lisa_jax.families.sd3_control import (
    assembled,
    check_fits,
    check_table,
    sd3_side,
    transformer_functions,
    with_table,
)
from lisa_jax.models.sd3_controlnet import SD3ControlNetConfig, sd3_controlnet_config_from_transformer
from lisa_jax.models.sd3_transformer import SD3TransformerConfig
from lisa_jax.processes import RectifiedFlow

CONFIG = SD3TransformerConfig(
    sample_size=8,
    in_channels=3,
    num_layers=4,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=12,
    caption_projection_dim=16,
    pooled_projection_dim=10,
    out_channels=3,
    pos_embed_max_size=6,
)
COPIED = sd3_controlnet_config_from_transformer(CONFIG, 2)
SINGLE = sd3_controlnet_config_from_transformer(CONFIG, 1, extra_conditioning_channels=1, with_text=False)
N, SIZE, T5_LENGTH, LAM = 2, 8, 3, 0.2
PROCESS = RectifiedFlow()
KEY = jax.random.key(1, impl="rbg")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def names(tree):
    return {"/".join(step.key for step in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def side(config, main=CONFIG):
    return sd3_side(config, main, absent_t5_length=T5_LENGTH)


CONTEXT = {"clip": normal(0, N, 5, 9), "pooled": normal(1, N, 10)}
CONDITIONS = {"edges": normal(2, N, SIZE, SIZE, 3), "mask": normal(3, N, SIZE, SIZE, 4)}
MODEL = DualBranch(
    *transformer_functions(CONFIG, absent_t5_length=T5_LENGTH), {"edges": side(COPIED), "mask": side(SINGLE)}
)


@pytest.fixture(scope="module")
def frozen():
    shapes = SD3_TRANSFORMER.shapes(CONFIG)
    leaves, structure = jax.tree.flatten(shapes)
    return structure.unflatten(0.3 * normal(index, *leaf.shape) for index, leaf in enumerate(leaves))


@pytest.fixture(scope="module")
def trainable(frozen):
    """A copy beside a network without text, and their decoders."""
    return jax.jit(lambda frozen: MODEL.init_trainable({"edges": frozen}, KEY, ("block_0",)))(frozen)


@jax.jit
def gradients(trainable, frozen):
    def loss(trainable):
        noisy = add_noise(normal(4, N, SIZE, SIZE, 3), KEY, PROCESS)
        inputs, align = {"context": CONTEXT, "condition": CONDITIONS}, Alignment(("block_0",))
        terms, metrics = lisa_loss(trainable, frozen, inputs, noisy, model=MODEL, process=PROCESS, align=align)
        return terms.total(LAM), metrics

    return jax.grad(loss, has_aux=True)(trainable)


def test_the_first_step_moves_what_is_born_zero_and_the_second_every_layer_that_reaches_the_image(trainable, frozen):
    first, metrics = gradients(trainable, frozen)
    assert metrics.means["residual_power"].total == 0
    moved = {name for name, leaf in names(first).items() if np.any(leaf)}
    born_zero = r"side/\w+/controlnet_blocks_\d/|decoder/block_0/\w+/conv_out/"
    assert moved == {name for name in names(first) if re.match(born_zero, name)}

    second, _ = gradients(jax.tree.map(lambda leaf, gradient: leaf - 0.1 * gradient, trainable, first), frozen)
    unmoved = {name for name, leaf in names(second["side"]).items() if not np.any(leaf)}
    # Text tokens end with the last block: what would change them on their way out reaches nothing.
    ending = r"edges/transformer_blocks_1/(attn/(add_q_proj|to_add_out)|ff_context)/"
    assert unmoved and all(re.match(ending, name) for name in unmoved)


def test_a_fresh_copy_has_all_of_the_transformer_s_layers_but_its_table_of_positions(trainable, frozen):
    copy, main = names(trainable["side"]["edges"]), names(frozen)
    fresh = {name for name in copy if name not in main}
    groups = names(MODEL.sides["edges"].layer_groups(trainable["side"]["edges"]))
    assert fresh == {name for name, group in groups.items() if group != "copied"}
    assert {name.split("/")[0] for name in fresh} == {"controlnet_blocks_0", "controlnet_blocks_1", "pos_embed_input"}
    assert not any(np.any(copy[name]) for name in fresh)
    for name in copy.keys() - fresh:
        np.testing.assert_array_equal(copy[name], main[name])
    assert "pos_embed/proj/kernel" in copy and "pos_embed/pos_embed" not in copy
    assert MODEL.side_trunk(trainable["side"])["edges"].keys() == {
        name for name in trainable["side"]["edges"] if not name.startswith("controlnet_blocks")
    }


def test_side_parameters_with_the_table_are_those_of_a_checkpoint(trainable, frozen):
    for name, config in (("edges", COPIED), ("mask", SINGLE)):
        whole = with_table(config, trainable["side"][name], frozen)
        entries = {"/".join(entry.path): entry.shape for entry in SD3_CONTROLNET.key_table(config).values()}
        assert {path: leaf.shape for path, leaf in names(whole).items()} == entries
        check_table(config, whole, frozen)
    other = frozen | {"pos_embed": {"pos_embed": frozen["pos_embed"]["pos_embed"] + 0.25}}
    with pytest.raises(ValueError, match=r"pos_embed.pos_embed differs from the transformer's by up to 0\.25"):
        check_table(COPIED, with_table(COPIED, trainable["side"]["edges"], other), frozen)


def test_side_networks_of_different_depths_add_up(trainable, frozen):
    given = normal(5, N, SIZE, SIZE, 3), jnp.asarray([3.0, 997.0]), CONTEXT
    params = jax.tree.map(lambda leaf: leaf if np.any(leaf) else 0.1 * normal(6, *leaf.shape), trainable["side"])

    @jax.jit
    def residuals_of(params, frozen):
        trunk = MODEL.trunk(frozen, *given)
        alone = [
            MODEL.side({name: params[name]}, trunk, *given, {name: CONDITIONS[name]}).residuals for name in CONDITIONS
        ]
        residuals, features = MODEL.side(params, trunk, *given, CONDITIONS)
        return alone, residuals, features, MODEL.gate(trunk, residuals)

    (copy, single), together, features, gate = residuals_of(params, frozen)
    assert len(together) == 3 and gate.residuals.shape == (N,) and features.keys() == {"block_0"}
    for one, other, both in zip(copy, single, together, strict=True):
        np.testing.assert_allclose(one + other, both, atol=1e-6)
    np.testing.assert_array_equal(copy[0], copy[1])
    np.testing.assert_array_equal(single[0], single[2])
    assert np.any(copy[0] != copy[2])


def test_forced_zeros_hide_the_pooled_text_from_the_side_network_alone(trainable, frozen):
    forced = sd3_controlnet_config_from_transformer(CONFIG, 2, force_zeros_for_pooled_projection=True)

    @jax.jit
    def features(pooled):
        given = normal(5, N, SIZE, SIZE, 3), jnp.asarray([3.0, 997.0]), CONTEXT | {"pooled": pooled}
        trunk = MODEL.trunk(frozen, *given)
        of = (
            side(config).apply(trainable["side"]["edges"], trunk, *given, CONDITIONS["edges"])
            for config in (COPIED, forced)
        )
        return [one.features["block_0"] for one in of], trunk.hidden

    (seen, hidden), (seen_without, hidden_without) = (
        features(pooled) for pooled in (CONTEXT["pooled"], jnp.zeros((N, 10)))
    )
    assert np.any(hidden != hidden_without) and np.any(seen[0] != seen_without[0])
    np.testing.assert_array_equal(seen[1], seen_without[1])


def test_text_is_assembled_as_in_the_pipelines():
    absent = assembled(CONTEXT, 12, T5_LENGTH)
    np.testing.assert_array_equal(absent["tokens"][:, :5, :9], CONTEXT["clip"])
    assert absent["tokens"].shape == (N, 8, 12) and not np.any(absent["tokens"][:, 5:])
    assert not np.any(absent["tokens"][..., 9:]) and absent["pooled"] is CONTEXT["pooled"]
    present = assembled(CONTEXT | {"t5": normal(7, N, 4, 12)}, 12, T5_LENGTH)
    np.testing.assert_array_equal(present["tokens"][:, 5:], normal(7, N, 4, 12))
    with pytest.raises(ValueError, match="width 9 do not fit text tokens of width 8"):
        assembled(CONTEXT, 8, T5_LENGTH)


def test_the_decoder_of_sd3_medium_has_1_69_million_parameters():
    main = SD3TransformerConfig(num_layers=24, num_attention_heads=24, caption_projection_dim=1536)
    network = sd3_side(sd3_controlnet_config_from_transformer(main), main)
    assert network.hooks == tuple(f"block_{i}" for i in range(12))
    decoder = jax.eval_shape(lambda: network.init_decoder(KEY, "block_5"))
    assert sum(leaf.size for leaf in jax.tree.leaves(decoder)) == 1_685_776


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_layers": 4}, "4 residuals do not fit a transformer of 4 layers"),
        ({"in_channels": 4}, "in_channels 4, but the transformer 3: it belongs to another base"),
        ({"pooled_projection_dim": 8}, "pooled_projection_dim 8, but the transformer 10"),
        ({"pos_embed_max_size": 9}, "pos_embed_max_size 9, but the transformer 6"),
        ({"num_attention_heads": 3, "caption_projection_dim": 24}, "width 24, but the transformer 16"),
    ],
)
def test_a_side_network_of_another_base_is_named(fields, message):
    own = {name: getattr(COPIED, name) for name in COPIED.__dataclass_fields__}
    with pytest.raises(ValueError, match=message):
        check_fits(SD3ControlNetConfig(**own | fields), CONFIG)
