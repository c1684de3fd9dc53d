"""Cells of a study with a family of a few numbers, which compiles in no time."""

import dataclasses
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lisa_jax.families.composed import compose
from ml_collections import ConfigDict
from PIL import Image

from lisa_jax.alignment import lisa_loss
from lisa_jax.dual_branch import DualBranch, SideOutput
from lisa_jax.evaluation.distances import distances
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.families.family import Family, TextSpace
from lisa_jax.families.pixels import PIXELS
from lisa_jax.processes import Diffusion
from lisa_jax.studies import quality, trial
from lisa_jax.studies.data import StudyData, StudySplit, read_study_data, write_study_data
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.programs import Examples, plan_batches
from lisa_jax.studies.quality import QualityMeter, quality_meter, read_quality, with_quality
from lisa_jax.studies.results import Results
from lisa_jax.studies.runner import measure_finished, measure_references, run_cells, write_references
from lisa_jax.studies.saved import load_trainable
from lisa_jax.studies.trial import Laboratory, run_cell

SIZE = 8
LISA = Cell("lowres", 0.5, 1e-2, 0, 8, 8, "mid")
PLAIN = dataclasses.replace(LISA, lam=0.0)


def toy_family(compute_dtype, conditions, decoder_width):
    """Main network: x_t times a number. Side: a tanh feature of x_t and the condition, out through a zero factor."""

    def side(params, x_t, t, context, condition):
        feature = jnp.tanh(x_t * params["trunk"]["x"] + condition * params["trunk"]["c"])
        return SideOutput((feature * params["out"],), {"down": feature**2, "mid": feature})

    model = DualBranch(
        trunk=lambda frozen, x_t, t, context: x_t,
        predict=lambda frozen, trunk, residuals=None: trunk * frozen["w"] + (0 if residuals is None else residuals[0]),
        side=side,
        init_side=lambda start, key: {
            "trunk": {"x": start["w"] * jnp.ones(3), "c": 0.1 * jax.random.normal(key, (3,))},
            "out": jnp.zeros(3),
        },
        decode=lambda decoder, feature, t, shape: feature * decoder["scale"],
        init_decoder=lambda key, hook: {"scale": jnp.full(3, 0.1 * decoder_width)},
        hooks=("down", "mid"),
        side_trunk=lambda side: {"trunk": side["trunk"]},
    )
    frozen = {"w": jnp.float32(0.7)}
    start = frozen
    if conditions is not None:
        model, start = compose(dict.fromkeys(conditions, model)), dict.fromkeys(conditions, frozen)
    text = TextSpace(dict, lambda captions: np.zeros((len(captions), 2), np.int32), lambda params, ids: ids[..., None])
    scheduler = {"num_train_timesteps": 100, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}
    process = Diffusion.from_scheduler_config(scheduler)
    return Family(model, frozen, process, PIXELS, text, scheduler, lambda: start, None, None, "toy")


def toy_config(**changes):
    config = ConfigDict(
        {
            "chunk": 2,
            "validate_every": 2,
            "sample_every": 4,
            "sample_at": (2,),
            "validation": {"draws": 2, "num_examples": None, "probe": 3},
            "num_samples": 4,
            "save_side": True,
            "sampling": {"num_steps": 2, "guidance_scale": 1.0},
            "optimizer": {
                "warmup_steps": 2,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 1e-2,
                "clip_norm": 1.0,
            },
        }
    )
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)

    def split(count):
        image = generator.integers(0, 256, (count, SIZE * 2, SIZE * 2, 3)).astype(np.uint8)
        conditions = {"lowres": image // 2, "lineart": image // 128 * 255}
        return StudySplit(image, np.zeros((count, 2, 1), np.float32), conditions)

    return StudyData(split(20), split(6))


@pytest.fixture(scope="module")
def laboratory(data):
    return Laboratory(toy_config(), toy_family, data)


def losses(result):
    return [point["validation/main_loss"] for point in result["curve"]]


def test_a_cell_leaves_its_curve_and_is_repeatable(laboratory, data):
    result = run_cell(laboratory, LISA)
    assert [point["step"] for point in result["curve"]] == [2, 4, 6, 8]
    assert ["fidelity/psnr" in point for point in result["curve"]] == [True, True, False, True]
    assert losses(result)[-1] < losses(result)[0]
    assert result["curve"] == run_cell(Laboratory(toy_config(), toy_family, data), LISA)["curve"]
    # Another size of the compiled calls changes nothing.
    whole = run_cell(Laboratory(toy_config(chunk=8, validate_every=8), toy_family, data), LISA)
    assert losses(whole)[-1] == pytest.approx(losses(result)[-1], rel=1e-6)
    assert whole["flops_per_step"] == pytest.approx(result["flops_per_step"], rel=0.01)


def test_lam_stops_and_decays_where_the_cell_says(laboratory):
    plain, aligned = run_cell(laboratory, PLAIN), run_cell(laboratory, LISA)
    stopped = run_cell(laboratory, dataclasses.replace(LISA, lam_stop_step=4))
    decayed = run_cell(laboratory, dataclasses.replace(LISA, lam_decay_steps=4))
    assert losses(stopped)[:2] == losses(aligned)[:2]
    assert losses(stopped)[2] != losses(aligned)[2]
    assert len({losses(run)[-1] for run in (plain, aligned, stopped, decayed)}) == 4
    assert "validation/align_over_gap" in stopped["curve"][-1]
    assert "validation/align_over_gap" not in plain["curve"][-1]


def test_gradients_of_the_trunk_are_those_of_the_two_losses(laboratory):
    found = run_cell(laboratory, dataclasses.replace(LISA, num_steps=2))["curve"][0]
    programs, family = laboratory.programs(LISA), laboratory.family(LISA)
    train, test = laboratory.rows("train", "lowres"), laboratory.rows("test", "lowres")
    key, plan = jax.random.key(0), plan_batches(0, 20, 2, 8)
    state = programs["init"](family.frozen, jax.random.fold_in(key, 1))
    state, _ = programs["train"](
        state, family.frozen, train, plan["numbers"], plan["flips"], jax.random.fold_in(key, 2), 1e-2, 0.5, np.inf
    )
    batch = Examples(*(part[:3] for part in test)).inputs(PIXELS, key)

    def term(side, main_weight):
        def loss(lam):
            return lisa_loss(
                state.params | {"side": side},
                family.frozen,
                batch,
                jax.random.key(1),
                model=family.model,
                process=family.process,
                lam=lam,
                hook="mid",
            )[0]

        return loss(0) if main_weight else loss(jnp.float32(1)) - loss(0)

    main, align = (jax.grad(term)(state.params["side"], main_weight)["trunk"] for main_weight in (1, 0))
    norms = float(optax.tree.norm(main)), float(optax.tree.norm(align))
    cosine = float(sum(jnp.sum(main[name] * align[name]) for name in main)) / (norms[0] * norms[1])
    assert found["validation/trunk_grad_main"] == pytest.approx(norms[0], rel=1e-4)
    assert found["validation/trunk_grad_align"] == pytest.approx(norms[1], rel=1e-4)
    assert found["validation/trunk_grad_cosine"] == pytest.approx(cosine, rel=1e-3)


def test_out_of_time_and_refusals(laboratory):
    assert run_cell(laboratory, LISA, deadline=time.monotonic() - 1) is None
    with pytest.raises(ValueError, match="num_steps is 7, but must be a multiple of chunk, 2"):
        run_cell(laboratory, dataclasses.replace(LISA, num_steps=7))
    with pytest.raises(FloatingPointError, match="validation loss at step 2 is nan"):
        run_cell(laboratory, dataclasses.replace(LISA, learning_rate=float("nan")))


def test_a_composed_task_trains_a_side_network_for_each_condition(laboratory):
    cell = dataclasses.replace(LISA, task="lineart+lowres", hooks=("down", "mid"), align_every=4, decoder_width=2.0)
    trained, pictures = [], {}
    result = run_cell(laboratory, cell, on_samples=pictures.__setitem__, on_trained=trained.append)
    assert losses(result)[-1] < losses(result)[0]
    last = result["curve"][-1]
    assert {"fidelity/lineart/f1_tolerance_0", "fidelity/lowres/psnr"} <= last.keys()
    # The mean over both hooks is what is aligned.
    by_hook = [last[f"validation/align_loss/{hook}"] for hook in ("down", "mid")]
    assert last["validation/align_loss"] == pytest.approx(np.mean(by_hook), rel=1e-5)
    assert by_hook[0] != by_hook[1]
    (params,) = trained
    assert params["side"].keys() == {"lineart", "lowres"}
    assert {hook: decoder.keys() for hook, decoder in params["decoder"].items()} == {
        "down": {"lineart", "lowres"},
        "mid": {"lineart", "lowres"},
    }
    assert list(pictures) == [2, 4, 8] and pictures[8].shape == (4, SIZE * 2, SIZE * 2, 3)


def test_each_option_of_the_alignment_changes_training_and_plain_training_is_one(laboratory):
    options = ({}, {"align_every": 2}, {"weighting": "low_noise"}, {"decoder_rate": 8.0})
    cells = [dataclasses.replace(LISA, **option) for option in options]
    runs = [losses(run_cell(laboratory, cell))[-1] for cell in cells]
    assert len(set(runs)) == len(options)
    assert len({cell.plain for cell in cells}) == 1
    with pytest.raises(ValueError, match="one row of 3"):
        run_cell(laboratory, dataclasses.replace(LISA, align_every=3))


def test_operations_are_counted_by_what_the_steps_do(laboratory):
    cells = (PLAIN, LISA, dataclasses.replace(LISA, lam_stop_step=2))
    plain, aligned, stopped = (run_cell(laboratory, cell)["flops_per_step"] for cell in cells)
    assert plain < aligned
    # Its plain steps carry the decoder along, which the optimizer still touches.
    assert stopped == pytest.approx((6 * plain + 2 * aligned) / 8, rel=0.05)


def test_time_a_step_is_that_of_each_program_by_its_steps(laboratory, monkeypatch):
    """A clock on which an aligned step takes 3 s and a plain one 1 s."""
    now, blocked = [0.0], jax.block_until_ready

    def ready(params):
        now[0] += 2 * (3.0 if "decoder" in params and now[0] < 2 * 2 * 3.0 else 1.0)
        return blocked(params)

    monkeypatch.setattr(trial.jax, "block_until_ready", ready)
    monkeypatch.setattr(trial.time, "monotonic", lambda: now[0])
    stopped = run_cell(laboratory, dataclasses.replace(LISA, lam_stop_step=4))
    assert stopped["seconds_per_step"] == pytest.approx((4 * 3 + 4 * 1) / 8)


def test_measures_get_the_truth_of_the_first_examples_and_nothing_is_mirrored(laboratory, data, monkeypatch):
    mirrored, seen = losses(run_cell(laboratory, LISA)), []

    def fake(task, samples, references, conditions, truth):
        seen.append((task, samples.shape, references.shape, conditions.shape, truth))
        return {"psnr": float("inf")}

    monkeypatch.setattr(trial, "fidelity", fake)
    keypoints = np.arange(6 * 18 * 3, dtype=np.float32).reshape(6, 18, 3)
    still = StudyData(data.train, dataclasses.replace(data.test, truth={"keypoints": keypoints}), flips=False)
    assert still.fingerprint != data.fingerprint
    monkeypatch.setattr(laboratory, "data", still)
    assert laboratory.references("lowres")["real"] == {"psnr": None}
    shape = (4, SIZE * 2, SIZE * 2, 3)
    assert seen[0][:4] == ("lowres", shape, shape, shape)
    np.testing.assert_array_equal(seen[0][4]["keypoints"], keypoints[:4])
    assert not plan_batches(0, 20, 4, 8, flips=False)["flips"].any()
    assert losses(run_cell(laboratory, LISA)) != mirrored


def test_a_study_leaves_rows_references_samples_and_networks(laboratory, tmp_path):
    tasks = [LISA.task, "lineart+lowres"]
    write_references(laboratory, tasks[:1], tmp_path)
    before = json.loads((tmp_path / "references.json").read_text())
    write_references(laboratory, tasks, tmp_path)
    references = json.loads((tmp_path / "references.json").read_text())
    assert references.keys() == set(tasks) and references["lowres"] == before["lowres"]
    assert references["lowres"]["real"]["psnr"] is None and references["lowres"]["other"]["psnr"] > 0
    pictures = {path.name for path in (tmp_path / "samples" / "lineart+lowres").iterdir()}
    assert pictures == {"condition_lineart.png", "condition_lowres.png", "reference.png"}
    assert (tmp_path / "samples" / "lowres" / "condition.png").is_file()

    results = Results(tmp_path, {"code": "a"})
    run_cells(laboratory, [PLAIN, LISA], results)
    assert list(results.rows()) == [PLAIN.id, LISA.id]
    grid = Image.open(tmp_path / "samples" / LISA.id / "8.png")
    assert grid.size == (4 * 33 - 1, 32)  # four pictures of 16 px, enlarged
    assert load_trainable(tmp_path, LISA.id)["decoder"]["scale"].shape == (3,)
    # Probes of those networks may lie beside the rows.
    (tmp_path / "probes.jsonl").write_text('{"id": "x", "rows": []}\n')
    run_cells(laboratory, [PLAIN, LISA], results)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3


def test_quality_is_measured_on_the_way_and_made_up_for_from_saved_networks(laboratory, tmp_path):
    def colours(images, indices):
        return jnp.mean(images.astype(jnp.float32) / 255, (1, 2))

    extractor = Extractor("toy", "fd_toy", "toy_16px", "aa", colours)
    meter = QualityMeter(tmp_path, extractor, extractor.features(laboratory.data.train.image))
    results = Results(tmp_path, {"code": "a"})
    run_cells(laboratory, [PLAIN], results)
    assert read_quality(tmp_path) == {}
    measure_references(laboratory, ["lowres"], meter)
    measure_finished(laboratory, [PLAIN, LISA], results, meter)
    run_cells(laboratory, [PLAIN, LISA], results, meter=meter)

    found = read_quality(tmp_path)
    assert {name: set(sets) for name, sets in found.items()} == {
        "lowres": {"real", "no control"},
        PLAIN.id: {"8"},
        LISA.id: {"2", "4", "8"},
    }
    samples = laboratory.sample(LISA, load_trainable(tmp_path, LISA.id)["side"])
    expected = distances(extractor.features(samples), meter.references)
    assert found[LISA.id]["8"] == pytest.approx({"fd_toy": expected["fd"], "kid_toy": expected["kid"]}, rel=1e-4)
    first, second = with_quality(results.rows().values(), found)
    assert [point.get("quality/kid_toy") for point in second["curve"]] == [
        found[LISA.id].get(str(step), {}).get("kid_toy") for step in (2, 4, 6, 8)
    ]
    assert "quality/kid_toy" in first["curve"][-1]

    other = dataclasses.replace(meter, extractor=dataclasses.replace(extractor, sha256="bb"))
    with pytest.raises(ValueError, match="'extractor'"):
        other.measure(LISA.id, 8, samples)
    other.measure("lineart", "real", samples)
    with pytest.raises(ValueError, match=r"several kinds: .*'extractor'"):
        read_quality(tmp_path)


def test_a_folder_measured_by_another_network_is_refused(tmp_path, monkeypatch):
    def load(name, weights):
        return Extractor(name, f"fd_{name}", f"{name}_16px", "aa", lambda images, _: images.mean((1, 2)) / 255.0)

    monkeypatch.setattr(quality, "load_extractor", load)
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)

    def meter(name):
        return quality_meter(ConfigDict({"extractor": {"name": name, "weights": ""}}), images, tmp_path)

    meter("first").measure("lowres", "real", images)
    assert meter("first").has("lowres", "real")
    with pytest.raises(
        ValueError, match=r"has distances of first_16px, but extractor\.name is second: use another --out"
    ):
        meter("second")
    assert meter("") is None


def test_every_epoch_has_every_example_once():
    plan = plan_batches(3, num_examples=10, num_steps=5, batch_size=4)
    assert plan["numbers"].shape == plan["flips"].shape == (5, 4)
    order = plan["numbers"].ravel()
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert (order[:10] != order[10:]).any()
    assert (plan_batches(3, 10, 9, 4)["numbers"][:2] == plan["numbers"][:2]).all()


def test_data_comes_back_from_a_file(tmp_path, data):
    write_study_data(tmp_path / "data.npz", data)
    assert read_study_data(tmp_path / "data.npz").fingerprint == data.fingerprint
    test = dataclasses.replace(data.test, truth={"depth": np.ones((6, 4, 4), np.float32)})
    write_study_data(tmp_path / "data.npz", StudyData(data.train, test, flips=False))
    back = read_study_data(tmp_path / "data.npz")
    assert back.test.truth["depth"].shape == (6, 4, 4) and not back.train.truth and not back.flips
    with pytest.raises(ValueError, match=r"No condition 'pose' of task 'lowres\+pose'"):
        back.test.condition("lowres+pose")
