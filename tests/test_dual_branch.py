"""Two side networks beside one main network: the loss is METHOD's with sums, and a silent partner changes nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.alignment import Alignment, NoisySample, lisa_loss
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput, parse_hooks
from lisa_jax.processes import Diffusion

N, LAM = 3, 0.3
FROZEN = {"gain": jnp.float32(0.7)}
KEY = jax.random.key(0)


def trunk(frozen, x_t, t, context):
    return frozen["gain"] * x_t


def predict(frozen, trunk, residuals=None):
    return trunk if residuals is None else trunk + residuals[0] + residuals[1]


def side_network(downscale):
    """A side network of one map; its condition comes in `downscale` times the size of the latents."""

    def apply(params, trunk, x_t, t, context, condition):
        small = condition[:, ::downscale, ::downscale]
        feature = jnp.tanh((x_t + small + t[:, None, None, None] / 1000) * params["map"])
        # The second residual is broadcast, as one that a smaller network does not have.
        residuals = feature * params["out"], jnp.zeros((1, 1, 1, 1))
        return SideOutput(residuals, {"mid": feature, f"own_{downscale}": small})

    def init(start, key):
        return {"map": start.get("map", jax.random.normal(key, (2,))), "out": jnp.zeros(2)}

    def decode(decoder, feature, t, shape):
        return decoder["scale"] * feature

    def init_decoder(key, hook):
        return {"scale": jax.random.normal(key, (2,))}

    return SideNetwork(apply, init, decode, init_decoder, (f"own_{downscale}", "mid"))


POSE, SEG = side_network(1), side_network(2)
BOTH = DualBranch(trunk, predict, lambda trunk: (trunk, trunk), {"seg": SEG, "pose": POSE})


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


NOISY = NoisySample(normal(0, N, 4, 4, 2), jnp.asarray([10, 500, 900]), normal(1, N, 4, 4, 2))
INPUTS = {"context": normal(2, N, 1, 1), "condition": {"pose": normal(3, N, 4, 4, 2), "seg": normal(4, N, 8, 8, 2)}}
SEEN = (NOISY.x_t, NOISY.t, INPUTS["context"])  # x_t, t, context
TRAINABLE = {
    "side": {"pose": {"map": normal(5, 2), "out": normal(6, 2)}, "seg": {"map": normal(7, 2), "out": normal(8, 2)}},
    "decoder": {"mid": {"pose": {"scale": normal(9, 2)}, "seg": {"scale": normal(10, 2)}}},
}


def loss(trainable, model=BOTH, inputs=INPUTS):
    align = Alignment(("mid",))
    terms, _ = lisa_loss(trainable, FROZEN, inputs, NOISY, model=model, process=Diffusion(), align=align)
    return terms.total(LAM)


def test_the_loss_is_the_sum_of_residuals_and_of_decoders():
    x_t, t, target = map(np.asarray, NOISY)
    features = {
        name: np.tanh((x_t + np.asarray(condition)[:, ::scale, ::scale] + t[:, None, None, None] / 1000) * side["map"])
        for (name, condition), scale, side in zip(
            sorted(INPUTS["condition"].items()), (1, 2), TRAINABLE["side"].values(), strict=True
        )
    }
    prior = 0.7 * x_t
    prediction = prior + sum(features[name] * TRAINABLE["side"][name]["out"] for name in features)
    aligned = sum(features[name] * TRAINABLE["decoder"]["mid"][name]["scale"] for name in features)
    expected = np.mean((prediction - target) ** 2) + LAM * np.mean((aligned - (target - prior)) ** 2)
    np.testing.assert_allclose(loss(TRAINABLE), expected, rtol=1e-6)


def test_every_parameter_of_both_gets_a_gradient():
    gradient = jax.grad(loss)(TRAINABLE)
    assert jax.tree.structure(gradient) == jax.tree.structure(TRAINABLE)
    assert all(np.all(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(gradient))


def only_pose(by_name):
    return {"pose": by_name["pose"]}


def test_with_a_silent_partner_loss_and_gradient_are_those_of_one_alone():
    silent = jax.tree.map(lambda leaf: leaf, TRAINABLE)
    silent["side"]["seg"]["out"] = jnp.zeros(2)
    silent["decoder"]["mid"]["seg"]["scale"] = jnp.zeros(2)
    alone = {"side": only_pose(TRAINABLE["side"]), "decoder": {"mid": only_pose(TRAINABLE["decoder"]["mid"])}}
    inputs = INPUTS | {"condition": only_pose(INPUTS["condition"])}
    together = jax.value_and_grad(loss)(silent)
    single = jax.value_and_grad(loss)(alone, dataclasses.replace(BOTH, sides={"pose": POSE}), inputs)
    assert together[0] == single[0]
    found = {"side": only_pose(together[1]["side"]), "decoder": {"mid": only_pose(together[1]["decoder"]["mid"])}}
    jax.tree.map(np.testing.assert_array_equal, found, single[1])


def test_initialisation_is_each_network_s_own_and_independent_of_the_order_of_names():
    start = {"pose": {"map": jnp.asarray([1.0, 2.0])}, "seg": {}}
    trainable = BOTH.init_trainable(start, KEY, ("mid",))
    jax.tree.map(
        np.testing.assert_array_equal,
        trainable,
        dataclasses.replace(BOTH, sides={"pose": POSE, "seg": SEG}).init_trainable(start, KEY, ("mid",)),
    )
    np.testing.assert_array_equal(trainable["side"]["pose"]["map"], [1, 2])
    assert not np.array_equal(*(trainable["decoder"]["mid"][name]["scale"] for name in ("pose", "seg")))
    residuals = BOTH.side(trainable["side"], NOISY.x_t, *SEEN, INPUTS["condition"]).residuals
    assert [residual.shape for residual in residuals] == [(N, 4, 4, 2), (1, 1, 1, 1)]
    assert not any(np.any(residual) for residual in residuals)
    shapes = jax.eval_shape(lambda key: BOTH.init_side({}, key), KEY)
    assert jax.tree.structure(shapes) == jax.tree.structure(trainable["side"])


def test_hooks_are_those_that_all_have():
    assert BOTH.hooks == ("mid",) and list(BOTH.sides) == ["pose", "seg"]
    with pytest.raises(ValueError, match="Unknown hook 'own_1': these side networks have mid"):
        BOTH.check_hooks(("own_1",))
    apart = dataclasses.replace(BOTH, sides={"pose": dataclasses.replace(POSE, hooks=("a",)), "seg": SEG})
    with pytest.raises(ValueError, match="Unknown hook 'mid': these side networks have none"):
        apart.init_trainable({}, KEY, ("mid",))
    with pytest.raises(ValueError, match=r"Hooks mid, mid must be different names, at least one\."):
        BOTH.check_hooks(("mid", "mid"))


def test_hooks_are_written_in_three_ways():
    assert parse_hooks("mid") == ("mid",)
    assert parse_hooks("down_3, mid") == parse_hooks(["down_3", "mid"]) == ("down_3", "mid")
    for nothing in ("", "mid,", ()):
        with pytest.raises(ValueError, match="is no name"):
            parse_hooks(nothing)


def test_a_main_network_alone_has_no_side_networks_to_train():
    alone = dataclasses.replace(BOTH, sides={})
    assert alone.init_trainable({}, KEY, ()) == {"side": {}} and alone.hooks == ()
    with pytest.raises(ValueError, match="Unknown hook 'mid': these side networks have none"):
        alone.check_hooks(("mid",))


@pytest.mark.parametrize(
    ("start", "conditions", "message"),
    [
        (
            {"conv_in": 1},
            INPUTS["condition"],
            "start from must have the names of the side networks, pose, seg, not conv_in",
        ),
        ({}, {"pose": INPUTS["condition"]["pose"]}, "Conditions must have the names .* pose, seg, not pose"),
        ({}, INPUTS["condition"]["pose"], "Conditions must have the names"),
    ],
)
def test_other_names_are_refused(start, conditions, message):
    with pytest.raises(ValueError, match=message):
        BOTH.side(BOTH.init_side(start, KEY), NOISY.x_t, *SEEN, conditions)
