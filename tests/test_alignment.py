"""The LISA loss, its schedule and its training step on a linear toy model: what the text says, term by term."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from lisa_jax.alignment import Alignment, LamSchedule, add_noise, lisa_loss, main_loss
from lisa_jax.dual_branch import DualBranch, SideNetwork, SideOutput, parse_hooks
from lisa_jax.metrics import LossMetrics, summarise
from lisa_jax.processes import EDM, Diffusion, RectifiedFlow
from lisa_jax.training.state import TrainState, state_initialiser
from lisa_jax.training.step import accumulated_gradients, make_train_step
from lisa_jax.weighting import alignment_weight

PROCESS = Diffusion(prediction_type="v_prediction")
NAME, HOOK = "edges", "down_0"
ALIGN = Alignment((HOOK,))
N, SIZE, CHANNELS = 8, 4, 2
PLAIN_NAMES = {"main_loss", "target_power"}
GATE_NAMES = {"residual_power", "joined_power"}
LISA_NAMES = PLAIN_NAMES | {"align_loss", "gap_power"}


def toy_model() -> DualBranch:
    """Linear maps over channels; everything trainable has a gradient wherever its input is not zero."""

    def apply(side, trunk, x_t, t, context, condition):
        feature = jnp.tanh(jnp.concatenate([x_t, condition], -1) @ side["encoder"] + t[:, None, None, None] / 1000)
        return SideOutput((feature @ side["zero"],), {HOOK: feature, "mid": 2 * feature})

    side = SideNetwork(
        apply=apply,
        init=lambda start, key: {
            "encoder": jax.random.normal(key, (CHANNELS + 3, 5)),
            "zero": jnp.zeros((5, CHANNELS)),
        },
        decode=lambda decoder, feature, t, shape: feature @ decoder["kernel"],
        init_decoder=lambda key, hook: {"kernel": jnp.zeros((5, CHANNELS))},
        hooks=(HOOK, "mid"),
    )
    return DualBranch(
        trunk=lambda frozen, x_t, t, context: jnp.tanh(x_t @ frozen["encoder"] + context[:, :1, None, :]),
        predict=lambda frozen, trunk, residuals=None: (trunk + (residuals[0] if residuals else 0)) @ frozen["head"],
        joined=lambda trunk: (trunk,),
        sides={NAME: side},
    )


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def key_of(seed):
    return jax.random.key(seed, impl="rbg")  # quick to compile


MODEL = toy_model()
FROZEN = {"encoder": normal(0, CHANNELS, CHANNELS), "head": normal(1, CHANNELS, CHANNELS)}


def example_inputs():
    return {
        "latents": normal(10, N, SIZE, SIZE, CHANNELS),
        "context": normal(11, N, 3, CHANNELS),
        "condition": {NAME: jax.nn.sigmoid(normal(12, N, SIZE, SIZE, 3))},
    }


def random_decoder(seed=22):
    return {NAME: {"kernel": normal(seed, 5, CHANNELS)}}


def random_trainable():
    """Away from initialisation, where half of all gradients are zero."""
    side = {NAME: {"encoder": normal(20, CHANNELS + 3, 5), "zero": normal(21, 5, CHANNELS)}}
    return {"side": side, "decoder": {HOOK: random_decoder()}}


def terms_of(trainable, frozen, noisy, align=ALIGN, step=0):
    return lisa_loss(trainable, frozen, example_inputs(), noisy, model=MODEL, process=PROCESS, align=align, step=step)


def loss_of(trainable, frozen, noisy, align=ALIGN, lam=0.5, step=0):
    terms, found = terms_of(trainable, frozen, noisy, align, step)
    return terms.total(lam), found


def a_noisy_sample(process=PROCESS):
    return add_noise(example_inputs()["latents"], key_of(3), process)


def means(found):
    return {name: float(mean.total / mean.count) for name, mean in found.means.items() if mean.count > 0}


@pytest.mark.parametrize("process", [PROCESS, Diffusion(), RectifiedFlow(), EDM()])
def test_noise_hides_the_latents_and_the_target_gives_them_back(process):
    latents = example_inputs()["latents"]
    noisy = a_noisy_sample(process)
    level = process.coefficients(noisy.t).like(latents)
    recovered = process.denoised(noisy.target, noisy.x_t, noisy.t)
    np.testing.assert_allclose(level.alpha * recovered, level.alpha * latents, rtol=1e-4, atol=1e-4)
    other = add_noise(latents, key_of(4), process)
    assert not np.array_equal(other.t, noisy.t) and not np.allclose(other.x_t, noisy.x_t)
    again = a_noisy_sample(process)
    jax.tree.map(np.testing.assert_array_equal, noisy, again)


def test_loss_is_the_formula():
    inputs, trainable, noisy = example_inputs(), random_trainable(), a_noisy_sample()
    x_t, t, target = (np.asarray(value, np.float64) for value in noisy)
    side, frozen = jax.tree.map(np.asarray, trainable["side"][NAME]), jax.tree.map(np.asarray, FROZEN)
    seen = np.concatenate([x_t, inputs["condition"][NAME]], -1)
    feature = np.tanh(seen @ side["encoder"] + t[:, None, None, None] / 1000)
    trunk = np.tanh(x_t @ frozen["encoder"] + np.asarray(inputs["context"])[:, :1, None, :])
    prediction, prior = (trunk + feature @ side["zero"]) @ frozen["head"], trunk @ frozen["head"]
    main = np.mean((prediction - target) ** 2)
    align = np.mean((feature @ np.asarray(trainable["decoder"][HOOK][NAME]["kernel"]) - (target - prior)) ** 2)

    terms, found = terms_of(trainable, FROZEN, noisy)
    assert terms.main.dtype == terms.align.dtype == terms.total(0.5).dtype == jnp.float32
    assert (float(terms.main), float(terms.align)) == pytest.approx((main, align), rel=1e-5)
    assert float(terms.total(0.5)) == pytest.approx(main + 0.5 * align, rel=1e-5)
    logged = means(found)
    assert logged["main_loss"] == pytest.approx(main, rel=1e-5)
    assert logged["align_loss"] == pytest.approx(align, rel=1e-5)
    assert logged["target_power"] == pytest.approx(np.mean(target**2), rel=1e-5)
    assert logged["gap_power"] == pytest.approx(np.mean((target - prior) ** 2), rel=1e-5)
    np.testing.assert_array_equal(found.t, noisy.t)
    np.testing.assert_allclose(found.example_loss, np.mean((prediction - target) ** 2, (1, 2, 3)), rtol=1e-4)


def test_the_networks_get_the_input_and_the_time_of_the_process():
    noisy, side = a_noisy_sample(EDM()), MODEL.sides[NAME]
    c_in, seen = 1 / np.sqrt(np.square(noisy.t) + 1), {}

    def trunk(frozen, x_t, t, context):
        seen["trunk"] = (x_t, t)
        return MODEL.trunk(frozen, x_t, t, context)

    def apply(params, trunk, x_t, t, context, condition):
        seen["side"] = (x_t, t)
        return side.apply(params, trunk, x_t, t, context, condition)

    def decode(decoder, feature, t, shape):
        seen["decoder"] = (None, t)
        return side.decode(decoder, feature, t, shape)

    watched = dataclasses.replace(side, apply=apply, decode=decode)
    model = dataclasses.replace(MODEL, trunk=trunk, sides={NAME: watched})
    lisa_loss(random_trainable(), FROZEN, example_inputs(), noisy, model=model, process=EDM(), align=ALIGN)
    assert seen.keys() == {"trunk", "side", "decoder"}
    for x_t, t in seen.values():
        assert x_t is None or np.allclose(x_t, noisy.x_t * c_in[:, None, None, None], rtol=1e-5)
        np.testing.assert_allclose(t, np.log(noisy.t) / 4, rtol=1e-5)


def test_the_side_network_is_given_the_trunk_of_the_main_network():
    noisy, seen = a_noisy_sample(), {}

    def apply(params, trunk, x_t, t, context, condition):
        seen["trunk"] = trunk
        return MODEL.sides[NAME].apply(params, trunk, x_t, t, context, condition)

    model = dataclasses.replace(MODEL, sides={NAME: dataclasses.replace(MODEL.sides[NAME], apply=apply)})
    lisa_loss(random_trainable(), FROZEN, example_inputs(), noisy, model=model, process=PROCESS, align=None)
    expected = MODEL.trunk(FROZEN, noisy.x_t, PROCESS.network_time(noisy.t), example_inputs()["context"])
    np.testing.assert_array_equal(seen["trunk"], expected)


def test_no_gradient_passes_through_the_gap_or_into_the_main_network():
    noisy = a_noisy_sample()

    def loss(frozen, target, align):
        return loss_of(random_trainable(), frozen, noisy._replace(target=target), align)[0]

    of_frozen, with_lisa = jax.grad(loss, argnums=(0, 1))(FROZEN, noisy.target, ALIGN)
    of_frozen_plain, plain = jax.grad(loss, argnums=(0, 1))(FROZEN, noisy.target, None)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((of_frozen, of_frozen_plain)))
    np.testing.assert_array_equal(with_lisa, plain)


def test_the_two_terms_add_up_and_a_traced_weight_is_a_number():
    noisy, trainable = a_noisy_sample(), random_trainable()
    gradient = jax.jit(jax.grad(lambda trainable, lam: loss_of(trainable, FROZEN, noisy, lam=lam)[0]))
    plain = jax.grad(lambda trainable: loss_of(trainable, FROZEN, noisy, align=None)[0])(trainable)
    number = jax.grad(lambda trainable: loss_of(trainable, FROZEN, noisy, lam=0.4)[0])(trainable)
    close = {"rtol": 1e-5, "atol": 1e-6}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), gradient(trainable, 0.0), plain)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), gradient(trainable, 0.4), number)
    jax.tree.map(
        lambda none, some, twice: np.testing.assert_allclose(twice - none, 2 * (some - none), rtol=1e-4, atol=1e-5),
        *(gradient(trainable, lam) for lam in (0.0, 0.2, 0.4)),
    )


def test_plain_training_needs_no_decoder_and_reports_no_alignment():
    noisy, trainable = a_noisy_sample(), random_trainable()
    terms, found = terms_of({"side": trainable["side"]}, FROZEN, noisy, align=None)
    quartiles = ("", "_q1", "_q2", "_q3", "_q4")
    assert found.means.keys() == GATE_NAMES | {name + quartile for name in PLAIN_NAMES for quartile in quartiles}
    assert terms.align is None
    assert float(terms.total(0.5)) == float(terms.main) == means(found)["main_loss"]
    _, with_lisa = terms_of(trainable, FROZEN, noisy)
    assert with_lisa.means.keys() == GATE_NAMES | {name + quartile for name in LISA_NAMES for quartile in quartiles}
    assert means(with_lisa)["main_loss"] == means(found)["main_loss"]


def test_main_loss_is_the_loss_without_a_side_network():
    noisy, zero = a_noisy_sample(), MODEL.init_trainable({}, key_of(0), ())
    inputs = example_inputs()
    loss, found = main_loss(FROZEN, inputs, noisy, model=MODEL, process=PROCESS)
    assert float(loss) == float(terms_of(zero, FROZEN, noisy, align=None)[0].main)
    assert found.means.keys() >= PLAIN_NAMES
    gradient = jax.grad(lambda main: main_loss(main, inputs, noisy, model=MODEL, process=PROCESS)[0])(FROZEN)
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(gradient))


def test_a_hook_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ValueError, match=r"'down_9'.*down_0, mid"):
        MODEL.init_trainable({}, key_of(0), ("down_9",))


def test_an_alignment_that_makes_no_sense_is_refused():
    for hooks in ((), "mid"):
        with pytest.raises(ValueError, match="must be a tuple of names, at least one"):
            Alignment(hooks)
    with pytest.raises(ValueError, match="Unknown weighting 'snr'"):
        Alignment((HOOK,), "snr")
    with pytest.raises(ValueError, match=r"lisa\.align_every is 0"):
        Alignment((HOOK,), every=0)


def test_the_hook_chooses_the_feature():
    noisy, trainable = a_noisy_sample(), random_trainable()
    trainable["decoder"]["mid"] = trainable["decoder"][HOOK]
    at_first, at_mid = (means(terms_of(trainable, FROZEN, noisy, Alignment((hook,)))[1]) for hook in MODEL.hooks)
    assert at_first["main_loss"] == at_mid["main_loss"]
    assert at_first["align_loss"] != at_mid["align_loss"]


def test_with_several_hooks_the_alignment_is_the_mean_of_theirs():
    noisy = a_noisy_sample()
    decoders = {hook: random_decoder(30 + index) for index, hook in enumerate(MODEL.hooks)}
    both = random_trainable() | {"decoder": decoders}
    alone = {hook: loss_of(both, FROZEN, noisy, Alignment((hook,))) for hook in MODEL.hooks}
    errors = {hook: means(found)["align_loss"] for hook, (_, found) in alone.items()}

    (loss, found), gradient = jax.value_and_grad(
        lambda trainable: loss_of(trainable, FROZEN, noisy, Alignment(MODEL.hooks)), has_aux=True
    )(both)
    logged = means(found)
    assert float(loss) == pytest.approx(np.mean([loss for loss, _ in alone.values()]), rel=1e-6)
    assert logged["align_loss"] == pytest.approx(np.mean(list(errors.values())), rel=1e-6)
    assert {hook: logged[f"align_loss/{hook}"] for hook in MODEL.hooks} == pytest.approx(errors, rel=1e-6)
    ratios = summarise(found.means)
    assert ratios["align_over_gap/mid"] == pytest.approx(errors["mid"] / logged["gap_power"], rel=1e-5)
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(gradient["decoder"]))

    # One row of two: the features of all hooks are chosen alike.
    parts = [loss_of(both, FROZEN, noisy, Alignment(MODEL.hooks, every=2), step=step)[0] for step in (0, 1)]
    np.testing.assert_allclose(np.mean(parts), loss, rtol=1e-6)


def test_each_hook_has_a_decoder_of_its_own():
    fresh = MODEL.init_trainable({}, key_of(0), MODEL.hooks)
    assert {hook: decoders.keys() for hook, decoders in fresh["decoder"].items()} == {HOOK: {NAME}, "mid": {NAME}}
    single = MODEL.init_trainable({}, key_of(0), ("mid",))
    assert single["decoder"].keys() == {"mid"}
    jax.tree.map(np.testing.assert_array_equal, fresh["side"], single["side"])
    assert MODEL.init_trainable({}, key_of(0), ()).keys() == {"side"}
    with pytest.raises(ValueError, match="different names, at least one"):
        MODEL.init_trainable({}, key_of(0), ("mid", "mid"))
    with pytest.raises(ValueError, match=r"'down_9'.*down_0, mid"):
        MODEL.init_trainable({}, key_of(0), ("mid", "down_9"))


def test_hooks_as_configs_write_them():
    assert parse_hooks("mid") == parse_hooks(["mid"]) == ("mid",)
    assert parse_hooks("down_3, mid") == parse_hooks(("down_3", "mid")) == ("down_3", "mid")
    for wrong in ("", "mid,", []):
        with pytest.raises(ValueError, match=r"is no name: .*down_3,mid"):
            parse_hooks(wrong)


def test_weighting_acts_on_the_alignment_term_alone_and_on_no_metric():
    noisy, trainable = a_noisy_sample(), random_trainable()
    uniform, unweighted = terms_of(trainable, FROZEN, noisy)
    weighted, found = terms_of(trainable, FROZEN, noisy, Alignment((HOOK,), "high_noise"))
    of_row = jax.jit(lambda row: terms_of(trainable, FROZEN, noisy, Alignment((HOOK,), every=N), row)[0].align)
    per_row = [of_row(row) for row in range(N)]
    weight = alignment_weight("high_noise", PROCESS, noisy.t)
    np.testing.assert_allclose(weight, 2 * np.asarray(noisy.t) / 999, rtol=2e-3)
    assert float(weighted.align) == pytest.approx(float(np.mean(weight * np.array(per_row))), rel=1e-4)
    assert abs(float(weighted.align) - float(uniform.align)) > 1e-3
    assert float(weighted.main) == float(uniform.main)
    assert means(found) == means(unweighted)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (LamSchedule(0.2), [0.2, 0.2, 0.2, 0.2, 0.2]),
        (LamSchedule(0.2, "linear", decay_steps=100), [0.2, 0.15, 0.1, 0.0, 0.0]),
        (LamSchedule(0.2, "cosine", decay_steps=100), [0.2, 0.1 + 0.1 * np.sqrt(0.5), 0.1, 0.0, 0.0]),
        (LamSchedule(0.2, stop_step=50), [0.2, 0.2, 0.0, 0.0, 0.0]),
        (LamSchedule(0.2, "linear", decay_steps=100, stop_step=30), [0.2, 0.15, 0.0, 0.0, 0.0]),
        (LamSchedule(0.0), [0.0, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_schedule_values_and_where_the_alignment_ends(schedule, expected):
    steps = (0, 25, 50, 100, 1000)
    np.testing.assert_allclose([schedule(step) for step in steps], expected, atol=1e-7)
    np.testing.assert_allclose([jax.jit(schedule)(step) for step in steps], expected, atol=1e-7)
    assert [schedule.aligns(step) for step in steps] == [value > 1e-7 for value in expected]


def test_alignment_runs_to_the_last_step_before_its_end():
    for schedule in (LamSchedule(1.0, stop_step=50), LamSchedule(1.0, "linear", 50), LamSchedule(1.0, "cosine", 50)):
        assert schedule.aligns(49) and schedule(49) > 0
        assert not schedule.aligns(50) and schedule(50) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.2, "exponential"), "'exponential': use constant, linear or cosine"),
        ((-0.1,), "lam is -0.1"),
        ((float("nan"),), "lam is nan"),
        ((0.2, "linear"), "'linear' needs decay_steps"),
        ((0.2, "cosine", 0), "'cosine' needs decay_steps"),
        ((0.2, "cosine", -5), "'cosine' needs decay_steps"),
        ((0.2, "constant", 100), "'constant' takes no decay_steps"),
        ((0.2, "constant", None, 0), "stop_step is 0"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LamSchedule(*arguments)


def training_loss(trainable, frozen, inputs, *, key, step):
    noisy = add_noise(inputs["latents"], key, PROCESS)
    terms, found = lisa_loss(trainable, frozen, inputs, noisy, model=MODEL, process=PROCESS, align=ALIGN, step=step)
    return terms.total(0.5), found


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_is_the_mean_over_microbatches_with_a_key_each(accumulate):
    trainable, inputs, key, step = random_trainable(), example_inputs(), key_of(5), jnp.int32(0)
    gradient, found = jax.jit(
        lambda trainable: accumulated_gradients(training_loss, trainable, FROZEN, inputs, key, step, accumulate)
    )(trainable)

    one = jax.jit(jax.value_and_grad(training_loss, has_aux=True))
    parts = [
        one(
            trainable, FROZEN, jax.tree.map(lambda rows, i=index: rows[i::accumulate], inputs), key=micro_key, step=step
        )
        for index, micro_key in enumerate(jax.random.split(key, accumulate))
    ]
    expected = jax.tree.map(lambda *leaves: sum(leaves) / accumulate, *(gradient for _, gradient in parts))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), gradient, expected)
    logged = means(found)
    assert logged["loss"] == pytest.approx(np.mean([loss for (loss, _), _ in parts]), rel=1e-5)
    for name in LISA_NAMES:
        assert logged[name] == pytest.approx(np.mean([means(found)[name] for (_, found), _ in parts]), rel=1e-5)
    assert found.means["main_loss"].count == N and found.means["loss"].count == accumulate
    np.testing.assert_array_equal(found.t, np.concatenate([found.t for (_, found), _ in parts]))
    assert found.example_loss.shape == (N,)


@pytest.mark.parametrize(("platform", "copies"), [("cpu", 4), ("tpu", 1), ("gpu", 1)])
def test_accumulation_is_a_loop_but_on_cpus_where_xla_differentiates_convolutions_in_one_slowly(platform, copies):
    device = AbstractDevice(device_kind=platform, num_cores=None, platform=platform)
    arguments = random_trainable(), FROZEN, example_inputs(), key_of(5), jnp.int32(0)
    with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("data",), (AxisType.Auto,), abstract_device=device)):
        traced = jax.make_jaxpr(functools.partial(accumulated_gradients, training_loss, accumulate=4))(*arguments)
    assert [eqn.params["unroll"] for eqn in traced.eqns if eqn.primitive.name == "scan"] == [copies]


def test_without_noise_of_its_own_accumulation_changes_nothing():
    def loss(params, frozen, inputs, *, key, step):
        error = jnp.mean((inputs["latents"] @ params["w"]) ** 2, (1, 2, 3))
        return jnp.mean(error), LossMetrics({}, error, error)

    arguments = ({"w": normal(0, CHANNELS, CHANNELS)}, {}, example_inputs(), key_of(0), jnp.int32(0))
    whole, *parts = (accumulated_gradients(loss, *arguments, k)[0]["w"] for k in (1, 2, 4))
    for part in parts:
        np.testing.assert_allclose(part, whole, rtol=1e-5)


def fresh_state(optimizer, ema) -> TrainState:
    init = state_initialiser(lambda key: MODEL.init_trainable({}, key, (HOOK,)), optimizer, ema)
    return jax.jit(init)(key_of(0))


def test_ema_follows_its_formula():
    optimizer = optax.sgd(0.1)
    state, ema = fresh_state(optimizer, ema=True), None
    step = jax.jit(make_train_step(training_loss, optimizer, ema_decay=0.15))
    for index in range(4):
        ema = jax.tree.map(np.asarray, state.params) if ema is None else ema
        state, _ = step(state, FROZEN, example_inputs(), key_of(1))
        decay = min(0.15, (1 + index) / (10 + index))
        ema = jax.tree.map(lambda average, leaf, d=decay: d * average + (1 - d) * leaf, ema, state.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.ema, ema)
    assert state.eval_params is state.ema
    assert any(not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (state.ema, state.params)), strict=True))
    assert fresh_state(optimizer, ema=False).ema is None


def test_a_step_advances_by_one_logs_its_norms_and_draws_new_noise():
    optimizer = optax.sgd(0.0)
    step = jax.jit(make_train_step(training_loss, optimizer))
    first, found = step(fresh_state(optimizer, ema=False), FROZEN, example_inputs(), key_of(1))
    second, found_next = step(first, FROZEN, example_inputs(), key_of(1))
    assert (int(first.step), int(second.step)) == (1, 2)
    assert not np.array_equal(found.t, found_next.t)
    logged = means(found)
    assert logged["update_norm"] == 0
    assert logged["param_norm"] == pytest.approx(float(optax.tree.norm(first.params)), rel=1e-6)
    parts = np.hypot(logged["grad_norm/side"], logged["grad_norm/decoder"])
    assert logged["grad_norm"] == pytest.approx(parts, rel=1e-5)
    assert logged["loss"] == pytest.approx(logged["main_loss"] + 0.5 * logged["align_loss"], rel=1e-5)


def test_a_rotating_part_of_the_batch_covers_every_row_once_and_estimates_the_whole_loss():
    noisy, trainable = a_noisy_sample(), random_trainable()
    whole, everywhere = loss_of(trainable, FROZEN, noisy)
    parts = [loss_of(trainable, FROZEN, noisy, Alignment((HOOK,), every=4), step=step) for step in range(4, 8)]
    np.testing.assert_allclose(np.mean([loss for loss, _ in parts]), whole, rtol=1e-6)
    rows = [float(means(found)["align_loss"]) for _, found in parts]
    assert len(set(rows)) == 4
    np.testing.assert_allclose(np.mean(rows), means(everywhere)["align_loss"], rtol=1e-5)
    assert {float(found.means["align_loss"].count) for _, found in parts} == {2.0}
    assert {float(found.means["main_loss"].count) for _, found in parts} == {8.0}


def test_a_part_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(ValueError, match=r"one row of 3.*8.*align_every"):
        loss_of(random_trainable(), FROZEN, a_noisy_sample(), Alignment((HOOK,), every=3))
