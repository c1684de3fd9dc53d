"""Control-LoRAs: side networks that train factors in place of the base's kernels, which they use where they lie.

The shared suite runs with one, too: `pytest -m slow tests/families/test_every_family.py -k Control-LoRA`.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import control
from toys.members import KINDS

from lisa_jax.alignment import Alignment, add_noise, lisa_loss
from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.dual_branch import COPIED
from lisa_jax.experiments.inputs import model_inputs
from lisa_jax.families.low_rank import has_factors, merged, with_kernels
from lisa_jax.families.registry import architecture_of, load_family
from lisa_jax.families.stable_diffusion import RULES
from lisa_jax.models.low_rank import factor_shapes
from lisa_jax.parallel.sharding import make_mesh, shardings

MEMBER = KINDS["Control-LoRA"]
NAME, RANK, HOOKS = *MEMBER.setup.conditions, MEMBER.setup.lora_rank, MEMBER.hooks
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("low_rank") / "base"
    MEMBER.write(folder)
    return folder


@pytest.fixture(scope="module")
def family(base):
    return load_family(base, MEMBER.setup)


@pytest.fixture(scope="module")
def rows(family):
    return control.make_rows(MEMBER, family)


@pytest.fixture(scope="module")
def fresh(family):
    return jax.jit(partial(family.model.init_trainable, hooks=HOOKS))(family.read_start(), KEY)


def names(tree):
    return {"/".join(step.key for step in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def inputs(family, rows):
    """Of two examples what the loss reads, and a noisy sample."""
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *(row["inputs"] for row in rows[:2]))
    encoded = model_inputs(batch, KEY, {}, family=family, empty=None, caption_dropout=0.0)
    return encoded, add_noise(encoded["latents"], KEY, family.process)


@pytest.fixture(scope="module")
def passes(family, inputs):
    """side parameters -> residuals, features, prior, prediction, and what features are copies of."""
    encoded, noisy = inputs
    model, given = family.model, (noisy.x_t, family.process.network_time(noisy.t), encoded["context"])

    @jax.jit
    def run(side, frozen):
        trunk = model.trunk(frozen, *given)
        residuals, features = model.side(model.complete(side, frozen), trunk, *given, encoded["condition"])
        prior, prediction = (model.predict(frozen, trunk, added) for added in (None, residuals))
        return residuals, features, prior, prediction, (*trunk.skips, trunk.hidden)

    return lambda side: run(side, family.frozen)


def test_at_birth_features_are_the_main_network_s_and_residuals_zero(family, passes, fresh):
    residuals, features, prior, prediction, main = passes(fresh["side"])
    np.testing.assert_array_equal(prediction, prior)
    assert not any(np.any(residual) for residual in residuals)
    hooks = dict(zip(family.model.sides[NAME].hooks, main, strict=True))
    for hook in HOOKS:
        assert np.any(features[hook][NAME])
        np.testing.assert_array_equal(features[hook][NAME], hooks[hook])


def test_what_trains_is_factors_norms_biases_and_fresh_layers(family, fresh):
    side, main = names(fresh["side"][NAME]), names(family.frozen)
    groups = names(family.model.layer_groups(fresh["side"])[NAME])
    assert set(groups.values()) == {COPIED, "low_rank", "zero_convolutions", "condition_embedding"}
    for name, leaf in side.items():
        if groups[name] == COPIED:
            assert leaf.ndim == 1
            np.testing.assert_array_equal(leaf, main[name])
        elif groups[name] == "low_rank":
            assert np.any(leaf) == name.endswith("/down")
    kernels = {name for name in main if name.endswith("/kernel") and not name.startswith(("up_blocks", "conv_out"))}
    assert {name.replace("/up", "/kernel") for name in side if name.endswith("/up")} == kernels
    assert side["conv_in/down"].shape == (3, 3, 4, RANK) and side["conv_in/up"].shape == (1, 1, RANK, 8)
    assert factor_shapes((3, 3, 4, 320), 64) == ((3, 3, 4, 4), (1, 1, 4, 320))


def test_factors_give_what_merged_kernels_give(family, passes, fresh):
    rng = np.random.default_rng(0)
    side = jax.tree.map(lambda leaf: np.asarray(leaf + 0.1 * rng.normal(size=leaf.shape), np.float32), fresh["side"])
    whole = {NAME: merged(side[NAME], family.frozen)}
    assert has_factors(side[NAME]) and not has_factors(whole[NAME])
    ours, theirs = (jax.tree.leaves(passes(given)[:4]) for given in (side, whole))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())
    # What has no factors is completed by nothing.
    assert_equal(with_kernels(whole[NAME], family.frozen), whole[NAME])


def test_a_step_reaches_all_that_trains_and_nothing_else(family, inputs, fresh):
    @jax.jit
    def gradients(trainable, frozen):
        def loss(trainable, frozen):
            how = {"model": family.model, "process": family.process, "align": Alignment(HOOKS)}
            return lisa_loss(trainable, frozen, *inputs, **how)[0].total(1.0)

        return jax.grad(loss, argnums=(0, 1))(trainable, frozen)

    params, reached = fresh, []
    for _ in range(3):
        gradient, of_main = gradients(params, family.frozen)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_main))
        reached.append({name for name, leaf in names(gradient["side"]).items() if np.any(leaf)})
        params = jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, params, gradient)
    # First the zero convolutions, then what lies before them, and "down" once "up" is no longer zero.
    assert all("/controlnet_" in name for name in reached[0])
    assert reached[2] == set(names(fresh["side"])) > reached[1] > reached[0]
    assert not any(name.endswith("/down") for name in reached[1])


def test_the_architecture_alone_has_the_same_shapes_and_every_parameter_a_place(base, family, fresh):
    abstract = architecture_of(open_checkpoint(base)).abstract(MEMBER.setup)
    init = partial(abstract.model.init_trainable, hooks=HOOKS)
    shapes = jax.eval_shape(init, abstract.read_start(), KEY)
    assert jax.tree.map(lambda leaf: leaf.shape, shapes) == jax.tree.map(lambda leaf: leaf.shape, fresh)
    shardings(fresh["side"], RULES, make_mesh())
    assert family.write_original is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers_per_block": 1}, "side.lora_rank is 2, but only a whole copy uses the base's kernels"),
        ({"start_from": {NAME: "FOLDER"}}, "start_from FOLDER is taken as it is: unset .* and lora_rank"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(base, settings, message):
    with pytest.raises(ValueError, match=message):
        load_family(base, dataclasses.replace(MEMBER.setup, **settings))


def test_kernels_are_those_of_the_frozen_tree_in_its_precision(base):
    family = load_family(base, dataclasses.replace(MEMBER.setup, frozen_dtype="bfloat16", compute_dtype="bfloat16"))
    shapes = jax.eval_shape(family.model.init_side, family.read_start(), KEY)
    whole = family.model.complete(shapes, family.frozen)[NAME]
    assert whole["conv_in"]["kernel"].dtype == jnp.bfloat16 and whole["conv_in"]["down"].dtype == jnp.float32
