"""What `evaluate` measures of sets of samples, and what it refuses to measure."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lisa_jax
from lisa_jax.data.rows import Columns, open_rows
from lisa_jax.evaluation.examples import Examples, examples_of_embedded, examples_of_rows, read_samples
from lisa_jax.evaluation.extractors import Extractor
from lisa_jax.evaluation.protocol import evaluate, task_of


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
    found = evaluate("lineart", samples, Examples(images, conditions, [""] * 8, embedded=True))["fidelity"]
    assert found["control"] == found["real images"] == {"f1_tolerance_0": 1.0, "f1_tolerance_1": 1.0}
    assert found["no control"]["f1_tolerance_0"] == found["other images"]["f1_tolerance_0"] == 0.0


def test_what_has_no_bound_is_null(drawings):
    images, _ = drawings
    found = evaluate("lowres", {"samples": 255 - images}, Examples(images, None, [""] * 8))["fidelity"]
    assert found["real images"]["psnr"] is None
    assert found["samples"]["psnr"] < 10


def test_quality_is_of_every_set_of_samples_and_names_its_network(drawings):
    images, conditions = drawings
    mean_colour = Extractor("toy", "fd_toy", "toy_1px", "0" * 64, lambda pixels, _: pixels.mean((1, 2)) / 255.0)
    examples = Examples(images, conditions, [""] * 8, embedded=True)
    samples = {"control": images, "no control": np.zeros_like(images)}
    found = evaluate("lineart", samples, examples, extractor=mean_colour)["quality"]
    assert found["control"]["fd_toy"] < 1e-6 < found["no control"]["fd_toy"]
    assert found["control"]["extractor"] == {"name": "toy_1px", "sha256": "0" * 64}


def test_figures_say_which_network_read_them():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    truth = {"depth": np.random.default_rng(1).uniform(1, 2, (2, 32, 32)).astype(np.float32)}
    found = evaluate("depth", {"samples": images}, Examples(images, images, [""] * 2, truth, embedded=True))
    weights = Path(lisa_jax.__file__).parent / "assets" / "figures_estimators" / "depth_32.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert found["estimators"] == {"depth": {"name": "figures_32_depth", "sha256": digest}}


def test_photographs_need_networks_of_ones_own(drawings):
    images, conditions = drawings
    with pytest.raises(ValueError, match=r"Nothing measures 'depth' on these pictures.*--metric_weights"):
        evaluate("depth", {"samples": images}, Examples(images, conditions, [""] * 8))
    with pytest.raises(ValueError, match="against conditions: give --condition_column"):
        evaluate("lineart", {"samples": images}, Examples(images, None, [""] * 8, embedded=True))


@pytest.mark.parametrize(
    ("condition", "task"),
    [
        ("lineart", "lineart"),
        ("lisa_jax.data.embedded.openmoji.layer_classes:segmentation", "segmentation"),
        ("seg", "segmentation"),
        (("lineart", "sr"), "lineart+lowres"),
    ],
)
def test_the_task_is_read_off_the_condition(condition, task):
    assert task_of(condition) == task


def test_samples_pair_with_embedded_examples_by_number(tiny_figures, monkeypatch, tmp_path):
    monkeypatch.setenv("LISA_JAX_DATA", str(tiny_figures))
    samples = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    for index, image in zip((3, 5), samples, strict=True):
        Image.fromarray(image).save(tmp_path / f"{index:05d}.png")
    (tmp_path / "grid.png").write_bytes((tmp_path / "00003.png").read_bytes())
    indices, read = read_samples(tmp_path)
    assert indices == [3, 5]
    np.testing.assert_array_equal(read, samples)
    examples = examples_of_embedded("figures", "pose+depth", indices, 16)
    assert examples.truth["keypoints"].shape == (2, 18, 3)
    assert set(examples.conditions) == {"pose", "depth"}
    with pytest.raises(ValueError, match="figures has no task 'lineart': there are pose, depth"):
        examples_of_embedded("figures", "lineart", indices, 16)
    with pytest.raises(ValueError, match=r"00099\.png, but the test split of figures ends at 7"):
        examples_of_embedded("figures", "pose", [99], 16)


def test_samples_pair_with_rows_by_number(tmp_path, drawings):
    images, conditions = drawings
    lines = []
    for index in range(3):
        Image.fromarray(images[index]).save(tmp_path / f"image_{index}.png")
        Image.fromarray(conditions[index]).save(tmp_path / f"condition_{index}.png")
        lines.append(f'{{"image": "image_{index}.png", "line": "condition_{index}.png", "caption": "number {index}"}}')
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    rows = open_rows(str(tmp_path), Columns(conditions={"condition": "line"}))
    examples = examples_of_rows(rows, [2, 0], (16, 16))
    np.testing.assert_array_equal(examples.references, images[[2, 0]])
    np.testing.assert_array_equal(examples.conditions, conditions[[2, 0]])
    assert list(examples.captions) == ["number 2", "number 0"]
    with pytest.raises(ValueError, match=r"00003\.png.*ends at row 2"):
        examples_of_rows(rows, [3], (16, 16))


def test_a_folder_of_no_or_mixed_samples_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no samples"):
        read_samples(tmp_path)
    for index, size in enumerate((8, 12)):
        Image.new("RGB", (size, size)).save(tmp_path / f"{index:05d}.png")
    with pytest.raises(ValueError, match=r"00001\.png is 12x12, but 00000\.png is 8x8"):
        read_samples(tmp_path)
