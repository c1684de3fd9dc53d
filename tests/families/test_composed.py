"""Two side networks beside one main network: the loss is METHOD's with sums, and a silent partner changes nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.alignment import NoisySample, lisa_loss_of_noisy
from lisa_jax.dual_branch import DualBranch, SideOutput
from lisa_jax.families.composed import compose
from lisa_jax.processes import Diffusion

N, LAM = 3, 0.3
FROZEN = {"gain": jnp.float32(0.7)}
KEY = jax.random.key(0)


def toy(downscale):
    """A side network of one map; its condition comes in `downscale` times the size of the latents."""

    def trunk(frozen, x_t, t, context):
        return frozen["gain"] * x_t

    def predict(frozen, trunk, residuals=None):
        return trunk if residuals is None else trunk + residuals[0] + residuals[1]

    def side(side, x_t, t, context, condition):
        small = condition[:, ::downscale, ::downscale]
        feature = jnp.tanh((x_t + small + t[:, None, None, None] / 1000) * side["map"])
        # The second residual is broadcast, as one that a smaller network does not have.
        return SideOutput((feature * side["out"], jnp.zeros((1, 1, 1, 1))), {"mid": feature, f"own_{downscale}": small})

    def init_side(start, key):
        return {"map": start.get("map", jax.random.normal(key, (2,))), "out": jnp.zeros(2)}

    def decode(decoder, feature, t, shape):
        return decoder["scale"] * feature

    def init_decoder(key, hook):
        return {"scale": jax.random.normal(key, (2,))}

    return DualBranch(trunk, predict, side, init_side, decode, init_decoder, (f"own_{downscale}", "mid"))


POSE, SEG = toy(1), toy(2)
BOTH = compose({"seg": SEG, "pose": POSE})


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


NOISY = NoisySample(normal(0, N, 4, 4, 2), jnp.asarray([10, 500, 900]), normal(1, N, 4, 4, 2))
BATCH = {"context": normal(2, N, 1, 1), "condition": {"pose": normal(3, N, 4, 4, 2), "seg": normal(4, N, 8, 8, 2)}}
TRAINABLE = {
    "side": {"pose": {"map": normal(5, 2), "out": normal(6, 2)}, "seg": {"map": normal(7, 2), "out": normal(8, 2)}},
    "decoder": {"pose": {"scale": normal(9, 2)}, "seg": {"scale": normal(10, 2)}},
}


def loss(trainable, model=BOTH, batch=BATCH):
    found = lisa_loss_of_noisy(trainable, FROZEN, batch, NOISY, model=model, process=Diffusion(), lam=LAM, hook="mid")
    return found[0]


def test_the_loss_is_the_sum_of_residuals_and_of_decoders():
    x_t, t, target = map(np.asarray, NOISY)
    features = {
        name: np.tanh((x_t + np.asarray(condition)[:, ::scale, ::scale] + t[:, None, None, None] / 1000) * side["map"])
        for (name, condition), scale, side in zip(
            sorted(BATCH["condition"].items()), (1, 2), TRAINABLE["side"].values(), strict=True
        )
    }
    prior = 0.7 * x_t
    prediction = prior + sum(features[name] * TRAINABLE["side"][name]["out"] for name in features)
    aligned = sum(features[name] * TRAINABLE["decoder"][name]["scale"] for name in features)
    expected = np.mean((prediction - target) ** 2) + LAM * np.mean((aligned - (target - prior)) ** 2)
    np.testing.assert_allclose(loss(TRAINABLE), expected, rtol=1e-6)


def test_every_parameter_of_both_gets_a_gradient():
    gradient = jax.grad(loss)(TRAINABLE)
    assert jax.tree.structure(gradient) == jax.tree.structure(TRAINABLE)
    assert all(np.all(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(gradient))


def test_with_a_silent_partner_loss_and_gradient_are_those_of_one_alone():
    silent = jax.tree.map(lambda leaf: leaf, TRAINABLE)
    silent["side"]["seg"]["out"] = jnp.zeros(2)
    silent["decoder"]["seg"]["scale"] = jnp.zeros(2)
    alone = {branch: params["pose"] for branch, params in TRAINABLE.items()}
    batch = BATCH | {"condition": BATCH["condition"]["pose"]}
    together, single = jax.value_and_grad(loss)(silent), jax.value_and_grad(loss)(alone, POSE, batch)
    assert together[0] == single[0]
    for branch, gradient in single[1].items():
        jax.tree.map(np.testing.assert_array_equal, together[1][branch]["pose"], gradient)


def test_initialisation_is_each_model_s_own_and_independent_of_the_order_of_names():
    start = {"pose": {"map": jnp.asarray([1.0, 2.0])}, "seg": {}}
    trainable = BOTH.init_trainable(start, KEY, "mid")
    jax.tree.map(
        np.testing.assert_array_equal,
        trainable,
        compose({"pose": POSE, "seg": SEG}).init_trainable(start, KEY, "mid"),
    )
    np.testing.assert_array_equal(trainable["side"]["pose"]["map"], [1, 2])
    assert not np.array_equal(*(trainable["decoder"][name]["scale"] for name in ("pose", "seg")))
    residuals = BOTH.side(trainable["side"], NOISY.x_t, NOISY.t, BATCH["context"], BATCH["condition"]).residuals
    assert [residual.shape for residual in residuals] == [(N, 4, 4, 2), (1, 1, 1, 1)]
    assert not any(np.any(residual) for residual in residuals)
    shapes = jax.eval_shape(lambda key: BOTH.init_side({}, key), KEY)
    assert jax.tree.structure(shapes) == jax.tree.structure(trainable["side"])


def test_hooks_are_those_that_all_have():
    assert BOTH.hooks == ("mid",) and set(BOTH.parts) == {"pose", "seg"}
    with pytest.raises(ValueError, match="Unknown hook 'own_1'"):
        BOTH.check_hook("own_1")
    with pytest.raises(ValueError, match="pose, seg have no feature of the same name"):
        compose({"pose": dataclasses.replace(POSE, hooks=("a",)), "seg": SEG})
    with pytest.raises(ValueError, match="at least one side network"):
        compose({})


@pytest.mark.parametrize(
    ("start", "conditions", "message"),
    [
        (
            {"conv_in": 1},
            BATCH["condition"],
            "start from must have the names of the side networks, pose, seg, not conv_in",
        ),
        ({}, {"pose": BATCH["condition"]["pose"]}, "Conditions must have the names .* pose, seg, not pose"),
        ({}, BATCH["condition"]["pose"], "Conditions must have the names"),
    ],
)
def test_other_names_are_refused(start, conditions, message):
    with pytest.raises(ValueError, match=message):
        side = BOTH.init_side(start, KEY)
        BOTH.side(side, NOISY.x_t, NOISY.t, BATCH["context"], conditions)
