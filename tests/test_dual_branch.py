"""Invariants of a frozen UNet with a trainable ControlNet: what stays, what is exact, and what LISA costs."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lisa_jax.alignment import lisa_loss
from lisa_jax.dual_branch import DualBranch
from lisa_jax.families.stable_diffusion import unet_dual_branch
from lisa_jax.models.controlnet import ControlNet, ControlNetConfig, controlnet_config_from_unet
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
HOOK, LAM = "down_1", 0.2
# Powers of two: a mean of means then rounds as one mean does.
N, SIZE = 4, 8
PROCESS = Diffusion()
# Compile time dominates at these sizes.
QUICK_COMPILE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
KEY = jax.random.key(1, impl="rbg")


def quick_jit(function, **options):
    return jax.jit(function, compiler_options=QUICK_COMPILE, **options)


class Tiny(NamedTuple):
    """The model with its parameters, and a batch; `side` is a fresh side network made without a decoder."""

    model: DualBranch
    frozen: Any
    trainable: Any
    side: Any
    batch: dict[str, jax.Array]


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
    model = unet_dual_branch(CONFIG, SIDE_CONFIG)
    trainable, plain = quick_jit(
        lambda frozen, key: tuple(model.init_trainable(frozen, key, hook) for hook in (HOOK, None))
    )(frozen, KEY)
    assert trainable.keys() == {"side", "decoder"} and plain.keys() == {"side"}
    batch = {
        "latents": normal(100, N, SIZE, SIZE, 4),
        "context": normal(101, N, 3, 8),
        "condition": jax.nn.sigmoid(normal(102, N, 2 * SIZE, 2 * SIZE, 3)),
    }
    return Tiny(model, frozen, trainable, plain["side"], batch)


def randomised(trainable):
    """The tree with random numbers for all zeros, as if it had been trained."""
    leaves, structure = jax.tree.flatten(trainable)
    return structure.unflatten(
        leaf if np.any(leaf) else 0.1 * normal(index, *leaf.shape) for index, leaf in enumerate(leaves)
    )


def network_inputs(tiny):
    return normal(103, N, SIZE, SIZE, 4), jnp.arange(N, dtype=jnp.float32) * 250, tiny.batch["context"]


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def names(tree):
    return {"/".join(step.key for step in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


class Passes(NamedTuple):
    """Compiled forward passes of (parameters, x_t, t, context, ...)."""

    side: Any
    shared: Any
    full: Any


@pytest.fixture(scope="module")
def passes(tiny):
    def shared(frozen, x_t, t, context, residuals):
        trunk = tiny.model.trunk(frozen, x_t, t, context)
        return tiny.model.predict(frozen, trunk), tiny.model.predict(frozen, trunk, residuals)

    def full(frozen, x_t, t, context, residuals=None):
        return UNet(CONFIG).apply({"params": frozen}, x_t, t, context, residuals)

    return Passes(*map(quick_jit, (tiny.model.side, shared, full)))


def test_at_initialisation_the_prediction_is_the_main_network_s_exactly(tiny, passes):
    inputs = network_inputs(tiny)
    residuals, features = passes.side(tiny.trainable["side"], *inputs, tiny.batch["condition"])
    assert not any(np.any(residual) for residual in residuals)
    assert all(np.any(feature) for feature in features.values())
    _, prediction = passes.shared(tiny.frozen, *inputs, residuals)
    main = passes.full(tiny.frozen, *inputs)
    np.testing.assert_array_equal(prediction, main)
    assert np.std(main) > 0.1


def test_prior_and_prediction_from_one_trunk_equal_two_full_passes(tiny, passes):
    inputs = network_inputs(tiny)
    residuals, _ = passes.side(randomised(tiny.trainable["side"]), *inputs, tiny.batch["condition"])
    prior, prediction = passes.shared(tiny.frozen, *inputs, residuals)
    np.testing.assert_array_equal(prior, passes.full(tiny.frozen, *inputs))
    np.testing.assert_array_equal(prediction, passes.full(tiny.frozen, *inputs, residuals))
    assert np.abs(prior - prediction).max() > 0.1


def test_a_fresh_side_network_is_the_main_network_s_encoder_and_the_same_with_or_without_a_decoder(tiny):
    side, frozen = names(tiny.trainable["side"]), names(tiny.frozen)
    copied = {name for name in side if name in frozen}
    encoder = {"conv_in", "time_embedding", "down_blocks_0", "mid_block"}
    assert {name.split("/")[0] for name in copied} == encoder
    for name in copied:
        np.testing.assert_array_equal(side[name], frozen[name])
    assert_trees_equal(tiny.side, tiny.trainable["side"])
    assert tiny.model.hooks == ("down_0", "down_1", "mid")
    with pytest.raises(ValueError, match=r"Unknown hook 'block_7': .* down_0, down_1, mid\."):
        tiny.model.init_trainable(tiny.frozen, KEY, "block_7")


def loss_fn(model, lam, hook):
    def loss(trainable, frozen, batch, key, step):
        return lisa_loss(trainable, frozen, batch, key, model=model, process=PROCESS, lam=lam, hook=hook)

    return loss


def plain_loss(side, frozen, batch, key):
    """ControlNet training written without this package's loss: one pass through both networks, one mean square."""
    t_key, noise_key = jax.random.split(key)
    t = jax.random.randint(t_key, (N,), 0, 1000, jnp.int32)
    noise = jax.random.normal(noise_key, batch["latents"].shape)
    alpha, sigma = (jnp.asarray(table)[t][:, None, None, None] for table in PROCESS.alpha_sigma_tables())
    x_t, time = alpha * batch["latents"] + sigma * noise, t.astype(jnp.float32)
    control = (x_t, time, batch["context"], batch["condition"])
    residuals, _ = ControlNet(SIDE_CONFIG).apply({"params": side}, *control)
    prediction = UNet(CONFIG).apply({"params": frozen}, x_t, time, batch["context"], residuals)
    return jnp.mean((prediction - noise) ** 2)


# Gradient descent: after one step, what moved is what had a gradient.
OPTIMIZER = optax.sgd(0.1)


def start(params):
    """State at step 0, in buffers of its own as the loop's is: they are donated."""
    return state_initialiser(lambda _: jax.tree.map(jnp.copy, params), OPTIMIZER, ema=False)(KEY)


def train_program(tiny, lam, hook, params):
    """The compiled training step, without the metrics."""
    step = make_train_step(loss_fn(tiny.model, lam, hook), OPTIMIZER)
    program = quick_jit(lambda *arguments: step(*arguments)[0], donate_argnums=0)
    return program.lower(start(params), tiny.frozen, tiny.batch, KEY).compile()


@pytest.fixture(scope="module")
def lisa_program(tiny):
    return train_program(tiny, LAM, HOOK, tiny.trainable)


@pytest.fixture(scope="module")
def lam_zero_program(tiny):
    return train_program(tiny, 0.0, None, {"side": tiny.side})


@pytest.fixture(scope="module")
def plain_program(tiny):
    """A training step of its own: (side, frozen, batch, key of the step) -> side."""

    def step(side, frozen, batch, key):
        gradient = jax.grad(plain_loss)(side, frozen, batch, key)
        return jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, side, gradient)

    return quick_jit(step).lower(tiny.side, tiny.frozen, tiny.batch, KEY).compile()


def train(program, tiny, params, steps):
    state = start(params)
    for _ in range(steps):
        state = program(state, tiny.frozen, tiny.batch, KEY)
    return state


def test_training_leaves_the_main_network_alone(tiny, lisa_program):
    before = jax.tree.map(lambda leaf: np.array(leaf).tobytes(), tiny.frozen)
    state = train(lisa_program, tiny, tiny.trainable, steps=3)
    assert jax.tree.map(lambda leaf: np.array(leaf).tobytes(), tiny.frozen) == before
    assert jax.tree.structure(state.params) == jax.tree.structure(tiny.trainable)
    start_of = names(tiny.trainable)
    for name, leaf in names(state.params).items():
        assert not np.array_equal(leaf, start_of[name]), f"{name} did not move"


def test_the_optimizer_holds_slots_for_what_trains_and_nothing_else(tiny):
    init = state_initialiser(lambda key: tiny.model.init_trainable(tiny.frozen, key, HOOK), optax.adamw(1e-3), ema=True)
    state = jax.eval_shape(init, KEY)
    trained = [leaf.shape for leaf in jax.tree.leaves(tiny.trainable)]
    slots = [leaf.shape for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sorted(slots) == sorted(2 * trained)  # Adam's two moments
    assert [leaf.shape for leaf in jax.tree.leaves(state.ema)] == trained


def test_the_first_step_moves_zero_convolutions_and_the_last_of_the_decoder_only(tiny, lisa_program):
    before, after = names(tiny.trainable), names(train(lisa_program, tiny, tiny.trainable, steps=1).params)
    moved = {name for name, leaf in after.items() if not np.array_equal(leaf, before[name])}
    born_zero = r"side/controlnet_(down_blocks_\d+|mid_block)/|decoder/conv_out/"
    assert moved == {name for name in after if re.match(born_zero, name)}


def test_lam_zero_trains_what_a_build_without_lisa_trains(tiny, lam_zero_program, plain_program):
    side = tiny.side
    for index in range(3):
        side = plain_program(side, tiny.frozen, tiny.batch, jax.random.fold_in(KEY, index))
    assert_trees_equal(train(lam_zero_program, tiny, {"side": tiny.side}, steps=3).params["side"], side)


def flops(program):
    return program.cost_analysis()["flops"]


def convolutions(program):
    return len(re.findall(r" convolution\(", program.as_text()))


def test_lisa_costs_one_more_up_path_and_the_decoder_and_nothing_at_lam_zero(
    tiny, lisa_program, lam_zero_program, plain_program
):
    lisa, lam_zero, plain = lisa_program, lam_zero_program, plain_program
    trunk = jax.eval_shape(tiny.model.trunk, tiny.frozen, *network_inputs(tiny))
    up_path = quick_jit(tiny.model.predict).lower(tiny.frozen, trunk).compile()
    decode = jax.grad(
        lambda decoder, feature, t, gap: jnp.mean((tiny.model.decode(decoder, feature, t, gap.shape) - gap) ** 2),
        argnums=(0, 1),
    )
    feature = jax.ShapeDtypeStruct((N, SIZE, SIZE, 8), jnp.float32)
    decoder = quick_jit(decode).lower(tiny.trainable["decoder"], feature, jnp.ones(N), tiny.batch["latents"]).compile()
    predicted = flops(plain) + flops(up_path) + flops(decoder)
    print(
        f"FLOPs: plain {flops(plain):.5g}, lam=0 {flops(lam_zero):.5g}, LISA {flops(lisa):.5g} against {predicted:.5g} "
        f"with one up path ({flops(up_path):.4g}) and the decoder ({flops(decoder):.4g}); convolutions "
        f"{convolutions(plain)}, {convolutions(lam_zero)}, {convolutions(lisa)} = {convolutions(plain)} + "
        f"{convolutions(up_path)} + {convolutions(decoder)}"
    )
    # Not to the last one: `process.weight` costs two operations an element of the prediction.
    assert flops(lam_zero) == pytest.approx(flops(plain), rel=3e-4)
    assert convolutions(lam_zero) == convolutions(plain)
    assert flops(lisa) == pytest.approx(predicted, rel=1e-2)
    assert convolutions(lisa) == convolutions(plain) + convolutions(up_path) + convolutions(decoder)


def test_bfloat16_compute_is_near_float32_with_float32_loss_and_gradients(tiny, passes):
    inputs, model = network_inputs(tiny), unet_dual_branch(CONFIG, SIDE_CONFIG, jnp.bfloat16)
    trainable, condition = randomised(tiny.trainable), tiny.batch["condition"]

    @quick_jit
    def controlled(side, frozen, *inputs):
        residuals, _ = model.side(side, *inputs, condition)
        return model.predict(frozen, model.trunk(frozen, *inputs), residuals)

    residuals, _ = passes.side(trainable["side"], *inputs, condition)
    _, exact = passes.shared(tiny.frozen, *inputs, residuals)
    rough = controlled(trainable["side"], tiny.frozen, *inputs)
    relative = float(jnp.linalg.norm(rough.astype(jnp.float32) - exact) / jnp.linalg.norm(exact))
    print(f"bfloat16: prediction {relative:.1e} from float32")
    assert rough.dtype == jnp.bfloat16 and relative < 0.02

    gradient = jax.value_and_grad(loss_fn(model, LAM, HOOK), has_aux=True)
    shapes = jax.eval_shape(gradient, trainable, tiny.frozen, tiny.batch, KEY, 0)
    assert {leaf.dtype for leaf in jax.tree.leaves((shapes[0][0], shapes[1]))} == {jnp.dtype(jnp.float32)}
