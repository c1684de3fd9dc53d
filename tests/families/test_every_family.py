"""What every family must do, whatever it consists of: one suite for all that are registered, and for a toy of another
shape than theirs; and side networks of another kind than the family's own.

Members stand in `toys.members`; one that is registered and missing there fails. Those that take long are run by
`pytest -m slow tests/families/test_every_family.py`; `tests/parity/test_svd_pipeline.py` and
`tests/families/test_low_rank.py` are run always.
"""

import dataclasses
import functools
import json
import shutil
import subprocess
import sys
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from toys import control
from toys.members import FAMILIES, KINDS, MEMBERS, Member, member_of, without_member

from lisa_jax.alignment import Alignment, NoisySample, add_noise, lisa_loss
from lisa_jax.aot.step import abstract_step
from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.dual_branch import COPIED, DualBranch, Params
from lisa_jax.experiments.control import control_losses
from lisa_jax.experiments.inputs import cached_shapes, model_inputs
from lisa_jax.families import registry
from lisa_jax.families.family import Family
from lisa_jax.metrics import LossMetrics, summarise
from lisa_jax.parallel.sharding import make_mesh
from lisa_jax.sampling.generate import make_generator
from lisa_jax.training.loop import fit
from lisa_jax.training.program import make_program, run_keys
from lisa_jax.training.state import state_initialiser
from lisa_jax.training.step import make_train_step

KEY = jax.random.key(1)
# One class name for every way to read an architecture.
CLASS_NAMES = {read: class_name for class_name, read in reversed(FAMILIES.items()) if read in MEMBERS}.values()
NAMES = (*CLASS_NAMES, *KINDS)
CASES = [pytest.param(name, marks=pytest.mark.slow) if member_of(name).slow else name for name in NAMES]


class Case(NamedTuple):
    """A member at work.

    Attributes:
      model: the family's, each of its functions compiled by itself.
      fresh, trained: trainable trees, as training begins with and with numbers for all zeros.
      rows: examples with a caption and cached inputs.
      inputs: of the first four rows, what the loss reads: latents, context, conditions.
    """

    name: str
    member: Member
    folder: Any
    family: Family
    model: DualBranch
    fresh: Params
    trained: Params
    rows: list[dict[str, Any]]
    inputs: dict[str, Any]

    @property
    def noisy(self) -> NoisySample:
        return add_noise(self.inputs["latents"], KEY, self.family.process)

    def passes(self, trainable: Params, inputs: Any = None, noisy: NoisySample | None = None) -> "Passes":
        """All that the networks give for the inputs, or for others."""
        inputs, noisy = inputs or self.inputs, noisy or self.noisy
        process, model, frozen = self.family.process, self.model, self.family.frozen
        x_t, t = process.network_input(noisy.x_t, noisy.t), process.network_time(noisy.t)
        trunk = model.trunk(frozen, x_t, t, inputs["context"])
        side = model.complete(trainable["side"], frozen)
        residuals, features = model.side(side, trunk, x_t, t, inputs["context"], inputs["condition"])
        return Passes(
            trunk, residuals, features, model.predict(frozen, trunk), model.predict(frozen, trunk, residuals), x_t, t
        )


class Passes(NamedTuple):
    trunk: Any
    residuals: Any
    features: Any
    prior: jax.Array
    prediction: jax.Array
    x_t: jax.Array
    t: jax.Array


@pytest.fixture(scope="module", autouse=True)
def compiled_once(shared_tmp):
    """Programs that are built anew, as by a run that goes on, are compiled once."""
    before = jax.config.jax_compilation_cache_dir
    keep_programs(str(shared_tmp / "xla"))
    yield
    keep_programs(before)


def keep_programs(folder):
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    # Else JAX goes by what it found at the first program of the process.
    compilation_cache.reset_cache()


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "FAMILIES", FAMILIES)
        member = member_of(request.param)
        folder = tmp_path_factory.mktemp("suite") / "base"
        member.write(folder)
        yield make_case(request.param, member, folder)


def make_case(name, member, folder):
    family, config = registry.load_family(folder, member.setup), control.config_of(member)
    rows = control.make_rows(member, family)
    program = make_program(control.experiment_of(config, family, rows), config, make_mesh(), family.read_start())
    fresh = program.initialise(family.read_start(), run_keys(config.seed)[0]).params
    batch = stacked(rows[:4])
    encode = partial(model_inputs, family=family, empty=family.conditioner.empty, caption_dropout=0.0)
    inputs = jax.tree.map(np.asarray, jax.jit(encode)(batch, KEY, {"latents": family.latents.params}))
    model = jitted(family.model)
    return Case(name, member, folder, family, model, fresh, trained(fresh), rows, inputs)


def jitted(model):
    sides = {
        name: dataclasses.replace(side, apply=jax.jit(side.apply), decode=jax.jit(side.decode, static_argnums=3))
        for name, side in model.sides.items()
    }
    return DualBranch(jax.jit(model.trunk), jax.jit(model.predict), model.joined, sides)


def stacked(rows):
    """Inputs of a batch."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(row["inputs"] for row in rows))


def of_loss(case):
    return {"process": case.family.process, "align": Alignment(case.member.hooks)}


def trained(trainable):
    """The tree with random numbers for all zeros, as if it had been trained."""
    rng = np.random.default_rng(3)
    return jax.tree.map(
        lambda leaf: leaf if np.any(leaf) else jnp.asarray(0.1 * rng.normal(size=leaf.shape), jnp.float32), trainable
    )


def shapes_of(tree):
    return jax.tree.map(lambda leaf: (tuple(leaf.shape), jnp.dtype(leaf.dtype)), tree)


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, other)


# ---- the suite itself


def test_every_registered_family_is_in_the_suite():
    assert without_member(registry.FAMILIES) == []


def test_a_family_that_is_registered_and_not_in_the_suite_is_named(monkeypatch):
    monkeypatch.setattr(registry, "FAMILIES", {**registry.FAMILIES, "NewPipeline": lambda checkpoint: None})
    assert without_member(registry.FAMILIES) == ["NewPipeline"]


# ---- one training run


class Run(NamedTuple):
    workdir: Any
    config: Any
    state: Any
    frozen: Any


@pytest.fixture(scope="module")
def run(case, tmp_path_factory):
    """An undisturbed run of four steps, with the frozen tree as it was on the devices at the end."""
    workdir, config, seen = tmp_path_factory.mktemp("run"), control.config_of(case.member), []
    experiment = control.experiment_of(
        config, case.family, case.rows, lambda params, frozen: seen.append(jax.tree.map(np.array, frozen))
    )
    state = fit(experiment, config, workdir)
    return Run(workdir, config, state, seen[-1])


def test_training_moves_every_trainable_parameter_and_no_bit_of_the_main_network(case, run):
    before = registry.load_family(case.folder, case.member.setup).frozen
    now, then = (jax.tree.map(lambda leaf: leaf.tobytes(), tree) for tree in (run.frozen["main"], before))
    assert now == then
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), case.fresh, run.state.params)
    assert all(jax.tree.leaves(moved)), moved


def test_the_main_network_has_no_gradient_and_no_slot_of_the_optimizer(case, run):
    trained = sorted(leaf.shape for leaf in jax.tree.leaves(run.state.params))
    slots = sorted(leaf.shape for leaf in jax.tree.leaves(run.state.opt_state) if leaf.ndim)
    assert slots == sorted(2 * trained)  # Adam's two moments

    def loss(frozen):
        terms, _ = lisa_loss(case.trained, frozen, case.inputs, case.noisy, model=case.family.model, **of_loss(case))
        return terms.total(1.0)

    gradient = jax.jit(jax.grad(loss))(case.family.frozen)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_run_that_goes_on_from_half_way_equals_one_that_was_not_stopped_bit_for_bit(case, run, tmp_path):
    workdir = shutil.copytree(run.workdir, tmp_path / "stopped")
    shutil.rmtree(workdir / "checkpoints" / "4")
    resumed = fit(control.experiment_of(run.config, case.family, case.rows), run.config, workdir)
    assert_equal(resumed, run.state)
    assert losses_of(workdir) == losses_of(run.workdir)


def test_eight_devices_give_the_losses_of_one(case, run, command_env, fake_devices, tmp_path):
    argv = [sys.executable, "-m", "toys.control", case.name, case.folder, tmp_path / "run"]
    done = subprocess.run(
        list(map(str, argv)), env=command_env | fake_devices(8), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(run.workdir)[:2], rel=1e-5)


def losses_of(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


# ---- plain training


def plain_loss(case):
    """Training of side networks written without this package's loss: one pass of each network, one mean square."""
    model, process = case.family.model, case.family.process

    def loss(params, frozen, inputs, *, key, step):
        input_key, noise_key = jax.random.split(key)
        encoded = model_inputs(inputs, input_key, frozen, family=case.family, empty=None, caption_dropout=0.0)
        x_t, t, target = add_noise(encoded["latents"], noise_key, process)
        given = (process.network_input(x_t, t), process.network_time(t), encoded["context"])
        trunk = model.trunk(frozen["main"], *given)
        side = model.complete(params["side"], frozen["main"])
        residuals, _ = model.side(side, trunk, *given, encoded["condition"])
        prediction = model.predict(frozen["main"], trunk, residuals)
        return jnp.mean(jnp.square(prediction - target)), LossMetrics({}, t, t)

    return loss


def test_plain_training_is_that_of_a_build_without_lisa_in_parameters_and_operations(case):
    config, optimizer = control.config_of(case.member, lam=0.0), optax.sgd(0.1)
    losses = (control_losses(config, case.family, case.family.conditioner.empty).loss_at(0), plain_loss(case))
    batch = stacked(case.rows[: control.BATCH_SIZE])
    start = state_initialiser(lambda key: {"side": case.fresh["side"]}, optimizer, ema=False)(KEY)
    ends, operations = [], []
    for loss in losses:
        step = make_train_step(loss, optimizer)
        arguments = (control.frozen_of(case.family), batch, KEY)
        # Without metrics, which the other build has not.
        program = jax.jit(lambda *given, step=step: step(*given)[0]).lower(start, *arguments).compile()
        operations.append(program.cost_analysis()["flops"])
        state = start
        for _ in range(3):
            state = program(state, *arguments)
        ends.append(state.params)
    assert_equal(*ends)
    # Not to the last one: `process.weight` costs two operations an element of the prediction.
    assert operations[0] == pytest.approx(operations[1], rel=1e-3)


# ---- the model


def test_at_initialisation_the_prediction_is_the_main_network_s_exactly(case):
    found = case.passes(case.fresh)
    assert not any(np.any(residual) for residual in found.residuals)
    assert all(np.any(feature) for feature in jax.tree.leaves(found.features))
    np.testing.assert_array_equal(found.prediction, found.prior)
    assert np.std(found.prior) > 0.1


def test_residuals_fit_what_they_join_and_the_gate_is_their_norm_over_its(case):
    for trainable in (case.fresh, case.trained):
        found = case.passes(trainable)
        joined = [np.float64(one) for one in case.model.joined(found.trunk)]
        added = [np.broadcast_to(one, to.shape) for one, to in zip(found.residuals, joined, strict=True)]
        _, metrics = lisa_loss(
            trainable,
            case.family.frozen,
            case.inputs,
            case.noisy,
            model=case.model,
            process=case.family.process,
            align=None,
        )
        norms = [np.sqrt(sum(np.sum(np.square(np.float64(one))) for one in part)) for part in (added, joined)]
        assert summarise(metrics.means)["gate_norm"] == pytest.approx(norms[0] / norms[1], rel=1e-4)
    assert norms[0] > 0


def test_fresh_layers_are_those_that_no_copy_gives_and_are_born_as_asked(case):
    layers, key, start = case.model.layer_groups(case.fresh["side"]), run_keys(0)[0], case.family.read_start()
    assert set(jax.tree.leaves(layers)) == {COPIED, *case.model.fresh_layers}
    for path, group in jax.tree_util.tree_leaves_with_path(layers):
        name, *layer = (step.key for step in path)
        copied = functools.reduce(lambda tree, step: tree and tree.get(step), layer, start[name]) is not None
        assert (group == COPIED) == copied, path
    usual = case.family.model.init_side(start, key)
    for setting in ({"condition_init": "default"}, {"zero_convolution_scale": 0.5}):
        family = registry.load_family(case.folder, dataclasses.replace(case.member.setup, **setting))
        born = family.model.init_side(start, key)
        differs = jax.tree.map(lambda one, other: not np.array_equal(one, other), usual, born)
        changed = {layer for layer, differ in zip(*map(jax.tree.leaves, (layers, differs)), strict=True) if differ}
        assert len(changed) == 1 and changed <= set(case.model.fresh_layers)
        if "condition_init" in setting:
            found = case.passes({"side": born})
            np.testing.assert_array_equal(found.prediction, found.prior)
            still_zero = changed
    assert changed != still_zero


def test_an_experiment_gives_fresh_layers_and_decoders_their_own_rates(case):
    config = control.config_of(case.member)
    config.optimizer.update(fresh_rate=4.0, fresh_layers=case.model.fresh_layers[0], decoder_rate=3.0)
    factors = control.experiment_of(config, case.family, case.rows).rate_factors(case.fresh, 0)
    expected = jax.tree.map(
        lambda group: 4.0 if group == case.model.fresh_layers[0] else 1.0, case.model.layer_groups(case.fresh["side"])
    )
    assert factors == {"side": expected, "decoder": 3.0}


def test_prior_and_prediction_of_one_trunk_equal_two_full_passes(case):
    model, found = case.family.model, case.passes(case.trained)

    @jax.jit
    def whole(frozen, x_t, t, context, residuals):
        return model.predict(frozen, model.trunk(frozen, x_t, t, context), residuals)

    given = (case.family.frozen, found.x_t, found.t, case.inputs["context"])
    assert_close(whole(*given, None), found.prior)
    assert_close(whole(*given, found.residuals), found.prediction)
    assert np.abs(found.prior - found.prediction).max() > 0.01


def test_the_loss_is_the_formula(case):
    found, noisy = case.passes(case.trained), case.noisy
    terms, metrics = lisa_loss(case.trained, case.family.frozen, case.inputs, noisy, model=case.model, **of_loss(case))
    target, prior, prediction = map(np.asarray, (noisy.target, found.prior, found.prediction))
    decoder, aligned = case.trained["decoder"], {}
    for hook in case.member.hooks:
        parts = (
            side.decode(decoder[hook][name], found.features[hook][name], found.t, prior.shape)
            for name, side in case.model.sides.items()
        )
        aligned[hook] = sum(map(np.asarray, parts))
    errors = {hook: np.mean((estimate - (target - prior)) ** 2) for hook, estimate in aligned.items()}
    assert float(terms.main) == pytest.approx(np.mean((prediction - target) ** 2), rel=1e-5)
    assert float(terms.align) == pytest.approx(np.mean(list(errors.values())), rel=1e-5)
    assert float(terms.total(0.3)) == pytest.approx(float(terms.main) + 0.3 * float(terms.align), rel=1e-6)
    by_hook = {hook: metrics.means[f"align_loss/{hook}"] for hook in case.member.hooks}
    assert {hook: float(mean.total / mean.count) for hook, mean in by_hook.items()} == pytest.approx(errors, rel=1e-5)


def test_rows_of_a_batch_know_nothing_of_each_other(case):
    order = np.array([2, 0, 3, 1])
    inputs, noisy = jax.tree.map(lambda leaf: leaf[order], (case.inputs, case.noisy))
    moved, found = case.passes(case.trained, inputs, noisy), case.passes(case.trained)
    # Every leaf of the trunk, too, begins with the rows.
    assert_close(moved, jax.tree.map(lambda leaf: leaf[order], found))


def test_side_networks_beside_each_other_are_told_apart_by_name_and_add_up(case):
    setup = dataclasses.replace(case.member.setup, conditions=("seg", "pose"))
    model = jitted(registry.load_family(case.folder, setup).model)
    one, condition = (tree["pose"] for tree in (case.trained["side"], case.inputs["condition"]))
    side = {"pose": one, "seg": jax.tree.map(lambda leaf: 1.1 * leaf, one)}
    side = model.complete(side, case.family.frozen)
    conditions = {"pose": condition, "seg": condition[::-1]}
    found = case.passes(case.trained)
    given = (found.trunk, found.x_t, found.t, case.inputs["context"])
    both = model.side(side, *given, conditions)
    alone = {name: model.side({name: side[name]}, *given, {name: conditions[name]}) for name in side}
    assert_equal(both.residuals, tuple(map(jnp.add, *(one.residuals for one in alone.values()))))
    assert not np.allclose(both.residuals[0], 2 * alone["pose"].residuals[0])
    for hook in case.member.hooks:
        assert_equal(both.features[hook], {name: one.features[hook][name] for name, one in alone.items()})
    decoder = dict.fromkeys(side, case.trained["decoder"][case.member.hooks[0]]["pose"])
    feature = both.features[case.member.hooks[0]]
    parts = [model.sides[name].decode(decoder[name], feature[name], found.t, found.prior.shape) for name in side]
    assert_close(model.decode(decoder, feature, found.t, found.prior.shape), sum(parts))


# ---- inputs


def test_captions_that_are_always_dropped_are_the_null_context(case):
    # Of a base with several kinds of dropout none takes all.
    conditioner = dataclasses.replace(case.family.conditioner, drops=())
    family, frozen = dataclasses.replace(case.family, conditioner=conditioner), {"latents": case.family.latents.params}
    batch = stacked(case.rows[:4])
    found = model_inputs(batch, KEY, frozen, family=family, empty=conditioner.empty, caption_dropout=1.0)["context"]
    assert_equal(found, conditioner.null(case.inputs["context"], conditioner.empty))
    differs = jax.tree.map(lambda dropped, kept: bool(np.any(dropped != kept)), found, case.inputs["context"])
    assert any(jax.tree.leaves(differs))


def test_the_architecture_alone_has_the_shapes_and_dtypes_of_what_is_loaded(case):
    setup = dataclasses.replace(case.member.setup, frozen_dtype="bfloat16")
    abstract = registry.architecture_of(open_checkpoint(case.folder)).abstract(setup)
    loaded = registry.load_family(case.folder, setup)
    assert shapes_of(abstract.frozen) == shapes_of(loaded.frozen)
    trainable = jax.eval_shape(
        partial(abstract.model.init_trainable, hooks=case.member.hooks), abstract.read_start(), KEY
    )
    assert shapes_of(trainable) == shapes_of(case.fresh)
    batch = stacked(case.rows)
    cached = cached_shapes(abstract, control.ROWS, case.member.size)
    assert jax.tree.map(lambda leaf: leaf.shape, cached) == jax.tree.map(lambda leaf: leaf.shape, batch)
    assert shapes_of(abstract.conditioner.shapes_at(case.member.size)) == shapes_of(case.rows[0]["inputs"]["context"])


@pytest.mark.parametrize("lam", [0.5, 0.0], ids=["aligned", "plain"])
def test_the_step_of_the_architecture_alone_takes_what_training_gives_it(case, lam):
    config = control.config_of(case.member, lam=lam)
    config.data = ConfigDict({"image_size": case.member.size, "condition": case.member.setup.conditions})
    config.update(condition_channels=case.member.setup.condition_channels, frozen_dtype="float32")
    architecture = registry.architecture_of(open_checkpoint(case.folder))
    step = abstract_step(config, architecture, make_mesh(), aligns=lam > 0)
    state, frozen, inputs, _ = step.arguments
    assert shapes_of(frozen["main"]) == shapes_of(case.family.frozen)
    if case.family.conditioner.draw is not None:
        latents = (frozen["latents"], case.family.latents.params)
        assert len({str(jax.tree.map(lambda leaf: leaf.shape, tree)) for tree in latents}) == 1
    trained = case.fresh if lam else {"side": case.fresh["side"]}
    assert shapes_of(state.params) == shapes_of(trained)
    batch = stacked(case.rows[: control.BATCH_SIZE])
    assert jax.tree.map(lambda leaf: leaf.shape, inputs) == jax.tree.map(lambda leaf: leaf.shape, batch)


# ---- files


def test_a_side_network_that_is_written_and_read_computes_the_same(case, tmp_path):
    name = case.member.setup.conditions[0]
    case.family.write_side(tmp_path, name, case.trained["side"][name])
    # What is written is a whole network, whatever the kind.
    setup = dataclasses.replace(case.member.setup, start_from={name: str(tmp_path)}, lora_rank=None)
    again = registry.load_family(case.folder, setup)
    start = again.read_start()[name]
    side = jax.jit(again.model.sides[name].init)(start, KEY)
    found = case.passes(case.trained)
    given = (found.trunk, found.x_t, found.t, case.inputs["context"], case.inputs["condition"][name])
    ours = case.model.sides[name].apply(case.model.complete(case.trained["side"], case.family.frozen)[name], *given)
    same = assert_equal if case.member.setup.lora_rank is None else assert_close
    same(jax.jit(again.model.sides[name].apply)(side, *given), ours)
    measured = case.family.check_export(
        tmp_path, case.trained["side"][name], jnp.dtype(jnp.float16), case.member.size, verifies=False
    )
    assert 0 < measured.rounding < 0.01 * measured.largest


def test_a_main_network_that_is_written_and_read_computes_the_same(case, tmp_path):
    main = jax.tree.map(lambda leaf: 1.5 * leaf, case.family.frozen)
    case.family.write_main(tmp_path, main)
    again = registry.load_family(tmp_path, case.member.setup)
    found = case.passes(case.fresh)
    given = (found.x_t, found.t, case.inputs["context"])
    prior = case.model.predict(again.frozen, case.model.trunk(again.frozen, *given))
    np.testing.assert_array_equal(prior, case.model.predict(main, case.model.trunk(main, *given)))
    assert np.abs(prior - found.prior).max() > 0.01
    assert again.fingerprint != case.family.fingerprint
    assert_equal(again.conditioner.empty, case.family.conditioner.empty)


# ---- samples


def test_control_of_untrained_side_networks_changes_no_sample(case):
    given, family, names = control.examples(case.member)[:2], case.family, case.member.setup.conditions
    conditions = {name: np.stack([example["image"] for example in given]) for name in names}
    context = family.conditioner.contexts(given)
    generate = make_generator(family, sampler="euler", num_steps=2, guidance_scale=2.0)

    def latents(side):
        return generate.latents(family.frozen, family.latents.params, side, context, conditions, [5, 7])

    alone = latents(None)
    assert alone.shape == (2, *family.latents.shape(*case.member.size))
    np.testing.assert_allclose(latents(case.fresh["side"]), alone, rtol=1e-4, atol=1e-4)
    assert np.abs(latents(case.trained["side"]) - alone).max() > 0.01
    assert not np.allclose(alone[0], alone[1])


def test_samples_are_decoded_written_read_and_shown(case, tmp_path):
    latents, medium = case.inputs["latents"], case.family.medium
    samples = np.asarray(jax.jit(case.family.latents.decode)(case.family.latents.params, latents))
    assert samples.dtype == np.uint8 and samples.shape == (4, *case.member.size, 3)
    path = tmp_path / f"00000{medium.formats['png']}"
    medium.write(path, samples[0])
    np.testing.assert_array_equal(medium.read(path), samples[0])
    np.testing.assert_array_equal(medium.mirror(samples[0]), samples[0][..., ::-1, :])
    assert medium.axes == len(case.member.size)
    columns = {"condition": samples, "sample": samples}
    sheet = medium.sheet(columns, cell=8, blocks=2)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[-1] == 3
    if medium.moving:
        assert medium.moving(columns, cell=8, blocks=2).startswith(b"GIF")
