"""What a study's cells share: data in memory, as `train` has them, and what is measured on the first test examples."""

import dataclasses

import jax
import numpy as np
import pytest
from toys.study import study_config, toy_base

from lisa_jax.experiments.splits import load_split
from lisa_jax.studies import laboratory as module
from lisa_jax.studies.data import data_fingerprint
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.identity import study_identity
from lisa_jax.studies.laboratory import Laboratory

CELL = Cell("lineart+lowres", 0.5, 1e-2, 0, 8, 8, "mid")


def test_splits_in_memory_give_what_training_reads(laboratory):
    for name in ("train", "test"):
        read = load_split(laboratory.training(CELL), laboratory.family(CELL), name)
        batches = [next(split.ordered_batches(5)) for split in (read, laboratory.split(CELL, name))]
        jax.tree.map(np.testing.assert_array_equal, *batches)
        np.testing.assert_array_equal(read.empty, laboratory.split(CELL, name).empty)


def test_cells_share_what_they_do_not_decide(laboratory):
    other = dataclasses.replace(CELL, seed=4)
    assert laboratory.program(CELL) is laboratory.program(other)
    for change in ({"lam": 0.2}, {"num_steps": 4}, {"lam": 0.0}):
        assert laboratory.program(CELL) is not laboratory.program(dataclasses.replace(CELL, **change))
    slower = dataclasses.replace(CELL, learning_rate=1e-4, lam=0.1, align_every=2)
    assert laboratory.validate(CELL) is laboratory.validate(slower) is not laboratory.validate(CELL.plain)
    assert laboratory.family(CELL) is laboratory.family(slower)
    assert laboratory.family(CELL) is not laboratory.family(dataclasses.replace(CELL, decoder_width=2.0))
    # Another birth is another family, whose step 0 is not this one's, on the same data.
    born = dataclasses.replace(CELL, condition_init="default")
    assert laboratory.networks(CELL) != laboratory.networks(born)
    assert laboratory.networks(CELL, born=False) == laboratory.networks(born, born=False)
    assert laboratory.validate(CELL) is laboratory.validate(born)
    faster = dataclasses.replace(CELL, optimizer="lion", b2=0.99, schedule="cosine", ema_decay=0.9)
    assert laboratory.validate(CELL) is laboratory.validate(faster) and laboratory.family(CELL) is laboratory.family(
        faster
    )


def test_the_fingerprint_of_data_depends_on_all_that_a_study_sees(laboratory):
    split = laboratory.split(CELL, "test")
    before = data_fingerprint([split])

    def changed(**values):
        source = [{**split.source[0], **values}, *split.source[1:]]
        return data_fingerprint([dataclasses.replace(split, source=source)])

    def mirrored(name):
        def make_inputs(example):
            inputs = split.make_inputs(example)
            return {**inputs, name: jax.tree.map(lambda rows: rows[:, ::-1], inputs[name])}

        return data_fingerprint([dataclasses.replace(split, make_inputs=make_inputs)])

    assert changed() == before == data_fingerprint([split])
    found = {before, changed(caption="other"), mirrored("image"), mirrored("condition"), data_fingerprint([split] * 2)}
    assert len(found) == 5
    whole = laboratory.data_fingerprint
    assert whole not in found
    identity = study_identity(laboratory)
    assert (identity["base"], identity["data"]) == ("toy", whole)
    assert identity["protocol"]["training"]["eval_every"] == 2 and "base" not in identity["protocol"]["training"]


def test_measures_get_the_truth_of_the_first_examples(tiny_figures, monkeypatch):
    monkeypatch.setenv("LISA_JAX_DATA", str(tiny_figures))
    figures, seen = Laboratory(study_config("figures"), toy_base), []

    def fake(task, samples, references, conditions, truth):
        seen.append((task, samples.shape, references.shape, conditions["pose"].shape, truth))
        return {"psnr": float("inf")}

    monkeypatch.setattr(module, "fidelity", fake)
    assert figures.references("pose")["real"] == {"psnr": None}
    shape = (4, 16, 16, 3)
    assert seen[0][:4] == ("pose", shape, shape, shape)
    source = figures.split(Cell("pose", 0.0, 0.0, 0, 1, 1), "test").source
    np.testing.assert_array_equal(seen[0][4]["keypoints"], [example["keypoints"] for example in source[:4]])
    assert data_fingerprint([figures.split(Cell("depth", 0.0, 0.0, 0, 1, 1), "test")]) != figures.data_fingerprint


def test_validation_sees_the_first_examples_as_often_as_it_is_told(laboratory, new_laboratory):
    state = laboratory.initial_state(CELL)
    found = laboratory.validate(CELL)(state.params, laboratory.split(CELL, "train").frozen())
    other = new_laboratory()
    other.config.validation.draws = 1
    once = other.validate(CELL)(state.params, laboratory.split(CELL, "train").frozen())
    assert found["validation/main_loss"] != once["validation/main_loss"]
    assert found["validation/main_loss"] == pytest.approx(once["validation/main_loss"], rel=0.5)
