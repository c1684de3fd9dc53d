"""What `evaluate` measures of sets of samples, and what it refuses to measure."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import lisa_jax
from lisa_jax.evaluation.evaluation_set import EvaluationSet
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.evaluation.metric_networks import MetricNetworks
from lisa_jax.evaluation.protocol import evaluate


@pytest.fixture
def drawings():
    """Eight pictures of one black line each, and their conditions."""
    conditions = np.zeros((8, 16, 16, 3), np.uint8)
    for column, condition in enumerate(conditions):
        condition[:, 2 * column] = 255
    return 255 - conditions, conditions


def test_samples_stand_between_ceiling_and_floor(drawings):
    images, conditions = drawings
    samples = {"control": images, "no control": np.full_like(images, 255)}
    found = evaluate("lineart", samples, EvaluationSet(images, {"lineart": conditions}, [""] * 8, embedded=True))[
        "fidelity"
    ]
    assert found["control"] == found["real images"] == {"f1_tolerance_0": 1.0, "f1_tolerance_1": 1.0}
    assert found["no control"]["f1_tolerance_0"] == found["other images"]["f1_tolerance_0"] == 0.0


def test_what_has_no_bound_is_null(drawings):
    images, _ = drawings
    found = evaluate("lowres", {"samples": 255 - images}, EvaluationSet(images, {}, [""] * 8))["fidelity"]
    assert found["real images"]["psnr"] is None
    assert found["samples"]["psnr"] < 10


def test_quality_is_of_every_set_of_samples_and_names_its_network(drawings):
    images, conditions = drawings
    mean_colour = Extractor("toy", "fd_toy", "toy_1px", "0" * 64, lambda pixels, _: pixels.mean((1, 2)) / 255.0)
    examples = EvaluationSet(images, {"lineart": conditions}, [""] * 8, embedded=True)
    samples = {"control": images, "no control": np.zeros_like(images)}
    found = evaluate("lineart", samples, examples, extractor=mean_colour)["quality"]
    assert found["control"]["fd_toy"] < 1e-6 < found["no control"]["fd_toy"]
    assert found["control"]["extractor"] == {"name": "toy_1px", "sha256": "0" * 64}


def test_results_say_which_network_read_the_pictures():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    truth = {"depth": np.random.default_rng(1).uniform(1, 2, (2, 32, 32)).astype(np.float32)}
    found = evaluate("depth", {"samples": images}, EvaluationSet(images, {}, [""] * 2, truth, embedded=True))
    weights = Path(lisa_jax.__file__).parent / "assets" / "figures_estimators" / "depth_32.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found["estimators"] == {"depth": {"name": "figures_32_depth", "sha256": digest}}


def test_photographs_need_networks_of_ones_own(drawings):
    images, conditions = drawings
    with pytest.raises(ValueError, match=r"Nothing measures 'depth' on these pictures.*--metric_weights"):
        evaluate("depth", {"samples": images}, EvaluationSet(images, {"lineart": conditions}, [""] * 8))
    with pytest.raises(ValueError, match="against conditions: give --condition_column"):
        evaluate("lineart", {"samples": images}, EvaluationSet(images, {}, [""] * 8, embedded=True))


def test_of_a_condition_that_nothing_reads_quality_is_measured_and_that_is_said_first(drawings, caplog):
    images, conditions = drawings
    mean_colour = Extractor("toy", "fd_toy", "toy_1px", "0" * 64, lambda pixels, _: pixels.mean((1, 2)) / 255.0)

    def samples():
        assert "Nothing here reads 'silhouette' off pictures" in caplog.text
        return {"control": images}

    nothing_of_it = MetricNetworks("silhouette", {}, None, None, {})
    for networks in (None, nothing_of_it):
        caplog.clear()
        examples = EvaluationSet(images, {"silhouette": conditions}, [""] * 8)
        found = evaluate("silhouette", samples, examples, networks=networks, extractor=mean_colour)
        assert found["quality"]["control"]["fd_toy"] < 1e-6
        assert found["fidelity"]["control"] == found["protocol"] == {}


def test_nothing_is_sampled_that_cannot_be_measured(drawings):
    images, conditions = drawings
    examples = EvaluationSet(images, {"lineart": conditions}, [""] * 8, embedded=True)
    sampled = []

    def samples():
        sampled.append(True)
        return {"control": images}

    offers_nothing = MetricNetworks("canny", {}, None, None, {})
    mean_colour = Extractor("toy", "fd_toy", "toy_1px", "0" * 64, lambda pixels, _: pixels.mean((1, 2)) / 255.0)
    for refused, complaint in [
        (lambda: evaluate("canny", samples, examples), "Nothing measures 'canny'"),
        (lambda: evaluate("canny", samples, examples, networks=offers_nothing), "Nothing measures 'canny'"),
        (lambda: evaluate("depth", samples, examples), "which truth does not hold"),
        (lambda: evaluate("lineart", samples, first(examples, 2), extractor=mean_colour), "or more, but there are 2"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            refused()
    assert not sampled
    found = evaluate("lineart", samples, examples)["fidelity"]
    assert sampled and list(found) == ["control", "real images", "other images"]


def first(examples, count):
    conditions = {name: rows[:count] for name, rows in examples.conditions.items()}
    return EvaluationSet(examples.references[:count], conditions, examples.captions[:count], embedded=True)


def test_results_say_how_each_number_was_computed_and_against_what(drawings):
    images, conditions = drawings
    found = evaluate("lowres", {"samples": 255 - images}, EvaluationSet(images, {}, [""] * 8))
    assert set(found["protocol"]) == set(found["fidelity"]["samples"])
    assert (found["truth"], found["image_size"]) == ({"lowres": "the real picture"}, [16, 16])
    networks = seeing_red("depth")
    examples = EvaluationSet(images, {"depth": conditions}, [""] * 8)
    words = {False: "what the same network sees in the real picture", True: "the condition picture"}
    for truth_is_condition, truth in words.items():
        found = evaluate(
            "depth", {"samples": images}, examples, networks=networks, truth_is_condition=truth_is_condition
        )
        assert found["truth"] == {"depth": truth} and "depth_rmse" in found["protocol"]
        assert (found["fidelity"]["real images"]["depth_rmse"] == 0) != truth_is_condition


def test_what_is_no_truth_or_not_known_is_refused(drawings):
    images, conditions = drawings
    examples = EvaluationSet(images, {"depth": conditions}, [""] * 8)
    with pytest.raises(ValueError, match="give --metric_weights with one for 'lowres'"):
        evaluate("lowres", {"samples": images}, examples, truth_is_condition=True)
    with pytest.raises(ValueError, match="'pose' cannot be held against condition pictures, only of depth"):
        evaluate("pose", {"samples": images}, examples, networks=seeing_red("pose"), truth_is_condition=True)
    with pytest.raises(ValueError, match="known at the samples' size alone"):
        evaluate("lowres", {"samples": images}, examples, at_real_size=True)


def test_measures_at_the_real_size_stand_beside_the_others(drawings):
    images, _ = drawings
    large = images.repeat(4, axis=1).repeat(4, axis=2)
    examples = EvaluationSet(images, {}, [""] * 8, real=large.__getitem__)
    found = evaluate("lowres", {"samples": 255 - images}, examples, at_real_size=True)
    real = found["fidelity_at_real_size"]
    assert real["samples"]["psnr"] < 10 < real["real images"]["psnr"] < 100
    assert "bicubic" in found["protocol"]["fidelity_at_real_size"]


def seeing_red(part):
    """Networks of one part that see the red of a picture."""
    return MetricNetworks(part, {part: lambda images: [image[..., 0] / 255 for image in images]}, None, None, {})
