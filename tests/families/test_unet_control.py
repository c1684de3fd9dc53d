"""ControlNets beside a UNet: what a fresh one is, what its first step moves, and what LISA costs.

What holds of every family is tested in test_every_family.
"""

import re
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lisa_jax.alignment import Alignment, add_noise, lisa_loss
from lisa_jax.dual_branch import DualBranch
from lisa_jax.families.unet_control import controlnet_side, unet_functions
from lisa_jax.models.controlnet import ControlNetConfig, controlnet_config_from_unet
from lisa_jax.models.unet import UNet, UNetConfig
from lisa_jax.processes import Diffusion
from lisa_jax.training.state import state_initialiser
from lisa_jax.training.step import make_train_step

CONFIG = UNetConfig(
    block_out_channels=(8,),
    down_block_types=("DownBlock2D",),
    up_block_types=("UpBlock2D",),
    layers_per_block=1,
    attention_head_dim=2,
    norm_num_groups=4,
    cross_attention_dim=8,
    use_linear_projection=True,
)
SIDE_CONFIG: ControlNetConfig = controlnet_config_from_unet(CONFIG, (4, 8))
ALIGN, LAM = Alignment(("down_1",)), 0.2
N, SIZE = 4, 8
PROCESS = Diffusion()
KEY = jax.random.key(1, impl="rbg")


def unet_with_control(dtype=jnp.float32):
    return DualBranch(*unet_functions(UNet(CONFIG, dtype)), {"edges": controlnet_side(SIDE_CONFIG, 4, dtype)})


class Tiny(NamedTuple):
    """The model with its parameters, and a batch; `side` are fresh side networks made without decoders."""

    model: DualBranch
    frozen: Any
    trainable: Any
    side: Any
    inputs: dict[str, Any]


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.fixture(scope="module")
def tiny():
    inputs = (jnp.zeros((1, SIZE, SIZE, 4)), jnp.zeros((1,)), jnp.zeros((1, 1, 8)))
    shapes = jax.eval_shape(UNet(CONFIG).init, KEY, *inputs)["params"]
    leaves, structure = jax.tree.flatten(shapes)
    frozen = structure.unflatten(
        0.3 * normal(index, *leaf.shape) + (leaf.ndim == 1) for index, leaf in enumerate(leaves)
    )
    model = unet_with_control()
    trainable, plain = jax.jit(
        lambda frozen, key: tuple(model.init_trainable({"edges": frozen}, key, hooks) for hooks in (ALIGN.hooks, ()))
    )(frozen, KEY)
    assert trainable.keys() == {"side", "decoder"} and plain.keys() == {"side"}
    inputs = {
        "latents": normal(100, N, SIZE, SIZE, 4),
        "context": normal(101, N, 3, 8),
        "condition": {"edges": jax.nn.sigmoid(normal(102, N, 2 * SIZE, 2 * SIZE, 3))},
    }
    return Tiny(model, frozen, trainable, plain["side"], inputs)


def randomised(trainable):
    """The tree with random numbers for all zeros, as if it had been trained."""
    leaves, structure = jax.tree.flatten(trainable)
    return structure.unflatten(
        leaf if np.any(leaf) else 0.1 * normal(index, *leaf.shape) for index, leaf in enumerate(leaves)
    )


def seen(tiny):
    """x_t, t and context."""
    return normal(103, N, SIZE, SIZE, 4), jnp.arange(N, dtype=jnp.float32) * 250, tiny.inputs["context"]


def names(tree):
    return {"/".join(step.key for step in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def both_passes(model, side, frozen, condition, *given):
    """Residuals, prior and prediction from one trunk."""
    trunk = model.trunk(frozen, *given)
    residuals, _ = model.side(side, trunk, *given, condition)
    return residuals, model.predict(frozen, trunk), model.predict(frozen, trunk, residuals)


def test_prior_and_prediction_from_one_trunk_equal_the_whole_unet(tiny):
    @jax.jit
    def whole(frozen, residuals, *given):
        return UNet(CONFIG).apply({"params": frozen}, *given, residuals)

    side, condition = randomised(tiny.trainable["side"]), tiny.inputs["condition"]
    passes = jax.jit(partial(both_passes, tiny.model))
    residuals, prior, prediction = passes(side, tiny.frozen, condition, *seen(tiny))
    np.testing.assert_array_equal(prior, whole(tiny.frozen, None, *seen(tiny)))
    np.testing.assert_array_equal(prediction, whole(tiny.frozen, residuals, *seen(tiny)))
    assert np.abs(prior - prediction).max() > 0.1


def test_a_fresh_controlnet_is_the_unet_s_encoder_and_the_same_with_or_without_a_decoder(tiny):
    side, frozen = names(tiny.trainable["side"]["edges"]), names(tiny.frozen)
    copied = {name for name in side if name in frozen}
    assert {name.split("/")[0] for name in copied} == {"conv_in", "time_embedding", "down_blocks_0", "mid_block"}
    for name in copied:
        np.testing.assert_array_equal(side[name], frozen[name])
    jax.tree.map(np.testing.assert_array_equal, tiny.side, tiny.trainable["side"])
    assert tiny.model.hooks == ("down_0", "down_1", "mid")
    with pytest.raises(ValueError, match=r"Unknown hook 'block_7': .* down_0, down_1, mid\."):
        tiny.model.init_trainable({}, KEY, ("block_7",))


def loss_of(model, align):
    def loss(trainable, frozen, inputs, *, key, step):
        noisy = add_noise(inputs["latents"], key, PROCESS)
        terms, found = lisa_loss(trainable, frozen, inputs, noisy, model=model, process=PROCESS, align=align, step=step)
        return terms.total(LAM), found

    return loss


# Gradient descent: after one step, what moved is what had a gradient.
OPTIMIZER = optax.sgd(0.1)


def train_program(tiny, align, params):
    """The compiled training step, without the metrics."""
    step = make_train_step(loss_of(tiny.model, align), OPTIMIZER)
    state = state_initialiser(lambda _: params, OPTIMIZER, ema=False)(KEY)
    program = jax.jit(lambda *arguments: step(*arguments)[0])
    return state, program.lower(state, tiny.frozen, tiny.inputs, KEY).compile()


@pytest.fixture(scope="module")
def lisa(tiny):
    """State at step 0, and the program."""
    return train_program(tiny, ALIGN, tiny.trainable)


def test_the_first_step_moves_zero_convolutions_and_the_last_of_the_decoder_only(tiny, lisa):
    state, program = lisa
    before, after = names(tiny.trainable), names(program(state, tiny.frozen, tiny.inputs, KEY).params)
    moved = {name for name, leaf in after.items() if not np.array_equal(leaf, before[name])}
    born_zero = r"side/edges/controlnet_(down_blocks_\d+|mid_block)/|decoder/down_1/edges/conv_out/"
    assert moved == {name for name in after if re.match(born_zero, name)}


def flops(program):
    return program.cost_analysis()["flops"]


def convolutions(program):
    return len(re.findall(r" convolution\(", program.as_text()))


def test_lisa_costs_one_more_up_path_and_the_decoder(tiny, lisa):
    _, lisa = lisa
    _, plain = train_program(tiny, None, {"side": tiny.side})
    trunk = jax.eval_shape(tiny.model.trunk, tiny.frozen, *seen(tiny))
    up_path = jax.jit(tiny.model.predict).lower(tiny.frozen, trunk).compile()
    decode = jax.grad(
        lambda decoder, feature, t, gap: jnp.mean((tiny.model.decode(decoder, feature, t, gap.shape) - gap) ** 2),
        argnums=(0, 1),
    )
    feature = {"edges": jax.ShapeDtypeStruct((N, SIZE, SIZE, 8), jnp.float32)}
    arguments = (tiny.trainable["decoder"]["down_1"], feature, jnp.ones(N), tiny.inputs["latents"])
    decoder = jax.jit(decode).lower(*arguments).compile()
    predicted = flops(plain) + flops(up_path) + flops(decoder)
    print(
        f"FLOPs: plain {flops(plain):.5g}, LISA {flops(lisa):.5g} against {predicted:.5g} with one up path "
        f"({flops(up_path):.4g}) and the decoder ({flops(decoder):.4g}); convolutions {convolutions(plain)}, "
        f"{convolutions(lisa)} = {convolutions(plain)} + {convolutions(up_path)} + {convolutions(decoder)}"
    )
    assert flops(lisa) == pytest.approx(predicted, rel=1e-2)
    assert convolutions(lisa) == convolutions(plain) + convolutions(up_path) + convolutions(decoder)


def test_bfloat16_compute_is_near_float32_with_float32_loss_and_gradients(tiny):
    trainable, condition, half = randomised(tiny.trainable), tiny.inputs["condition"], unet_with_control(jnp.bfloat16)
    exact, rough = (
        jax.jit(partial(both_passes, model))(trainable["side"], tiny.frozen, condition, *seen(tiny))[-1]
        for model in (tiny.model, half)
    )
    relative = float(jnp.linalg.norm(rough.astype(jnp.float32) - exact) / jnp.linalg.norm(exact))
    print(f"bfloat16: prediction {relative:.1e} from float32")
    assert rough.dtype == jnp.bfloat16 and relative < 0.02

    gradient = partial(jax.value_and_grad(loss_of(half, ALIGN), has_aux=True), key=KEY, step=0)
    shapes = jax.eval_shape(gradient, trainable, tiny.frozen, tiny.inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes[0][0], shapes[1]))} == {jnp.dtype(jnp.float32)}
