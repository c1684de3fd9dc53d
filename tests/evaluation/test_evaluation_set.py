"""What samples are measured against, from an embedded data set or from rows."""

import numpy as np
import pytest
from PIL import Image

from lisa_jax.data.rows import Columns, open_rows
from lisa_jax.evaluation.evaluation_set import embedded_set, read_samples, set_of_rows


def test_samples_pair_with_embedded_examples_by_number(tiny_figures, monkeypatch, tmp_path):
    monkeypatch.setenv("LISA_JAX_DATA", str(tiny_figures))
    samples = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    for index, image in zip((3, 5), samples, strict=True):
        Image.fromarray(image).save(tmp_path / f"{index:05d}.png")
    (tmp_path / "grid.png").write_bytes((tmp_path / "00003.png").read_bytes())
    indices, read = read_samples(tmp_path)
    assert indices == [3, 5]
    np.testing.assert_array_equal(read, samples)
    examples = embedded_set("figures", "pose+depth", indices, (16, 16))
    assert examples.truth["keypoints"].shape == (2, 18, 3)
    assert set(examples.conditions) == {"pose", "depth"}
    with pytest.raises(ValueError, match="figures has no task 'lineart': there are pose, depth"):
        embedded_set("figures", "lineart", indices, (16, 16))
    with pytest.raises(ValueError, match=r"00099\.png, but the test split of figures ends at 7"):
        embedded_set("figures", "pose", [99], (16, 16))


def test_samples_pair_with_rows_by_number(tmp_path):
    images, conditions = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
    lines = []
    for index in range(3):
        Image.fromarray(images[index]).save(tmp_path / f"image_{index}.png")
        Image.fromarray(conditions[index]).save(tmp_path / f"condition_{index}.png")
        lines.append(f'{{"image": "image_{index}.png", "line": "condition_{index}.png", "caption": "number {index}"}}')
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    rows = open_rows(str(tmp_path), Columns(conditions={"condition": "line"}))
    examples = set_of_rows(rows, "lowres", [2, 0], (16, 16))
    np.testing.assert_array_equal(examples.references, images[[2, 0]])
    np.testing.assert_array_equal(examples.conditions["lowres"], conditions[[2, 0]])
    assert list(examples.captions) == ["number 2", "number 0"]
    with pytest.raises(ValueError, match=r"00003\.png.*ends at row 2"):
        set_of_rows(rows, "lowres", [3], (16, 16))


def test_a_folder_of_no_or_mixed_samples_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no samples"):
        read_samples(tmp_path)
    for index, size in enumerate((8, 12)):
        Image.new("RGB", (size, size)).save(tmp_path / f"{index:05d}.png")
    with pytest.raises(ValueError, match=r"00001\.png is 12x12, but 00000\.png is 8x8"):
        read_samples(tmp_path)
