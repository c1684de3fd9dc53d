"""Cells of a study with a family of a few numbers, which compiles in no time."""

import dataclasses
import json
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from PIL import Image

from lisa_jax.evaluation.distances import distances
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.experiments.control import control_losses
from lisa_jax.experiments.training_run import training_experiment
from lisa_jax.studies import quality
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.quality import QualityMeter, quality_meter, read_quality, with_quality
from lisa_jax.studies.results import Results
from lisa_jax.studies.runner import measure_finished, measure_references, run_cells, write_references
from lisa_jax.studies.saved import load_trainable
from lisa_jax.studies.trial import run_cell
from lisa_jax.training.loop import fit

SIZE = 16
LISA = Cell("lowres", 0.5, 1e-2, 0, 8, 8, "mid")
PLAIN = dataclasses.replace(LISA, lam=0.0)
BOTH = dataclasses.replace(LISA, task="lineart+lowres", hooks=("down_0", "mid"), align_every=4, decoder_width=2.0)


def losses(result):
    return [point["validation/main_loss"] for point in result["curve"]]


def trained(laboratory, cell):
    """Parameters of a cell at its end."""
    found = []
    run_cell(laboratory, cell, on_trained=found.append)
    return found[0]


@pytest.mark.parametrize(
    "cell",
    [
        PLAIN,
        dataclasses.replace(LISA, seed=3, lam_stop_step=4, decoder_rate=4.0, weighting="low_noise"),
        dataclasses.replace(BOTH, lam_decay_steps=6),
    ],
    ids=["plain", "stopped", "composed"],
)
def test_a_cell_is_to_the_bit_what_a_training_run_with_its_config_is(laboratory, cell, tmp_path):
    config = laboratory.training(cell)
    experiment = training_experiment(config, laboratory.family(cell))
    run, ours = fit(experiment, config, tmp_path).params, trained(laboratory, cell)
    assert jax.tree.structure(run) == jax.tree.structure(ours)
    for of_run, of_cell in zip(jax.tree.leaves(run), jax.tree.leaves(ours), strict=True):
        np.testing.assert_array_equal(of_run, of_cell)


def test_a_cell_leaves_its_curve_and_is_repeatable(laboratory, new_laboratory, capsys):
    result = run_cell(laboratory, LISA)
    # A bar, under the cell's name.
    assert re.search(rf"{re.escape(LISA.id)}: .* \d/8 .*step", capsys.readouterr().err)
    assert [point["step"] for point in result["curve"]] == [2, 4, 6, 8]
    assert ["fidelity/psnr" in point for point in result["curve"]] == [True, True, False, True]
    assert losses(result)[-1] < losses(result)[0]
    assert result["curve"] == run_cell(new_laboratory(), LISA)["curve"]
    assert {"train/main_loss", "train/align_over_gap"} <= result["curve"][0].keys()
    assert result["seconds_per_step"] > 0 and result["temporary_bytes"] > 0
    assert result["seconds_spent"].keys() == {"training", "validation", "sampling"}


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
    cell = dataclasses.replace(LISA, num_steps=2)
    point, params = run_cell(laboratory, cell)["curve"][0], trained(laboratory, cell)
    family, test = laboratory.family(cell), laboratory.split(cell, "test")
    inputs = next(test.ordered_batches(laboratory.config.validation.probe))["inputs"]
    config = laboratory.training(dataclasses.replace(cell, lam=1.0))
    of = control_losses(config, family, test.empty)

    def gradient(loss):
        def of_side(side):
            return loss(params | {"side": side}, test.frozen(), inputs, key=jax.random.key(1), step=0)[0]

        return family.model.side_trunk(jax.grad(of_side)(params["side"]))

    main = gradient(of.validation)
    align = jax.tree.map(lambda both, one: both - one, gradient(of.measured), main)
    norms = float(optax.tree.norm(main)), float(optax.tree.norm(align))
    cosine = float(optax.tree.vdot(main, align)) / (norms[0] * norms[1])
    assert point["validation/trunk_grad_main"] == pytest.approx(norms[0], rel=1e-4)
    assert point["validation/trunk_grad_align"] == pytest.approx(norms[1], rel=1e-4)
    assert point["validation/trunk_grad_cosine"] == pytest.approx(cosine, rel=1e-3)


def test_out_of_time_and_refusals(laboratory):
    assert run_cell(laboratory, LISA, deadline=time.monotonic() - 1) is None
    with pytest.raises(FloatingPointError, match="validation loss at step 2 is nan"):
        run_cell(laboratory, dataclasses.replace(LISA, learning_rate=float("nan")))
    with pytest.raises(ValueError, match=r"No condition 'pose' of task 'lowres\+pose': there are lineart, lowres"):
        run_cell(laboratory, dataclasses.replace(LISA, task="lowres+pose"))


def test_a_composed_task_trains_a_side_network_for_each_condition(laboratory):
    params, pictures = [], {}
    result = run_cell(laboratory, BOTH, on_samples=pictures.__setitem__, on_trained=params.append)
    assert losses(result)[-1] < losses(result)[0]
    last = result["curve"][-1]
    assert {"fidelity/lineart/f1_tolerance_0", "fidelity/lowres/psnr"} <= last.keys()
    # The mean over both hooks is what is aligned.
    by_hook = [last[f"validation/align_loss/{hook}"] for hook in ("down_0", "mid")]
    assert last["validation/align_loss"] == pytest.approx(np.mean(by_hook), rel=1e-5)
    assert by_hook[0] != by_hook[1]
    assert params[0]["side"].keys() == {"lineart", "lowres"}
    assert {hook: decoder.keys() for hook, decoder in params[0]["decoder"].items()} == {
        "down_0": {"lineart", "lowres"},
        "mid": {"lineart", "lowres"},
    }
    assert list(pictures) == [2, 4, 8] and pictures[8].shape == (4, SIZE, SIZE, 3)


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
    assert load_trainable(tmp_path, LISA.id)["decoder"]["mid"]["lowres"]["scale"].shape == (2, 3)
    # Probes of those networks may lie beside the rows.
    (tmp_path / "probes.jsonl").write_text('{"id": "x", "rows": []}\n')
    run_cells(laboratory, [PLAIN, LISA], results)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3


def test_quality_is_measured_on_the_way_and_made_up_for_from_saved_networks(laboratory, tmp_path):
    def colours(images, indices):
        return jnp.mean(images.astype(jnp.float32) / 255, (1, 2))

    extractor = Extractor("toy", "fd_toy", "toy_16px", "aa", colours)
    meter = QualityMeter(tmp_path, extractor, extractor.features(laboratory.train_pictures(1000)))
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
        config = ConfigDict({"extractor": {"name": name, "weights": ""}})
        return quality_meter(config, lambda count: images[:count], tmp_path)

    meter("first").measure("lowres", "real", images)
    assert meter("first").has("lowres", "real")
    with pytest.raises(
        ValueError, match=r"has distances of first_16px, but extractor\.name is second: use another --out"
    ):
        meter("second")
    assert meter("") is None
