"""The annotators of docs/own_condition.md, with a stand-in for controlnet-aux, which is not installed here."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lisa_jax.data.conditions.registry import get_condition
from lisa_jax.data.rows import Row
from lisa_jax.preparing.images import ImageMaker

PAGE = Path(__file__).parents[2] / "docs" / "own_condition.md"


class Detector:
    """As those of controlnet-aux: called with a picture, it gives one whose sides are rounded to multiples of 64."""

    loaded = 0

    @classmethod
    def from_pretrained(cls, pretrained_model_or_path):
        assert pretrained_model_or_path == "lllyasviel/Annotators"
        cls.loaded += 1
        return cls()

    def __call__(self, input_image, detect_resolution=512, image_resolution=512, output_type="pil"):
        assert detect_resolution == image_resolution and output_type == "pil"
        scale = image_resolution / min(input_image.size)
        width, height = (round(side * scale / 64) * 64 for side in input_image.size)
        return input_image.convert("L").resize((width, height))


@pytest.fixture
def annotators(tmp_path, monkeypatch):
    """The page's file where modules are looked for, beside the stand-in."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "annotators.py").write_text(code)
    names = ("OpenposeDetector", "MidasDetector", "PidiNetDetector", "LineartDetector")
    library = SimpleNamespace(**{name: type(name, (Detector,), {}) for name in names})
    monkeypatch.setitem(sys.modules, "controlnet_aux", library)
    monkeypatch.syspath_prepend(tmp_path)
    yield library
    sys.modules.pop("annotators", None)


def test_each_annotator_draws_a_condition_of_its_image_s_size(annotators, toy):
    rows = [Row(f"row {seed}", toy.png(seed, 64, 96), {}, "a", {}) for seed in range(2)]
    specs = {name: f"annotators:{name}" for name in ("pose", "depth", "soft_edges", "line_art")}
    functions = {name: get_condition(spec, [spec]) for name, spec in specs.items()}
    make = ImageMaker(((64, 96),), (), functions, 0.0)
    for row in rows:
        made = make(row)
        assert made.conditions.keys() == specs.keys()
        grey = np.asarray(Image.fromarray(made.image).convert("L").resize((128, 64)).convert("RGB").resize((96, 64)))
        for condition in made.conditions.values():
            np.testing.assert_array_equal(condition, grey)
    assert {name: detector.loaded for name, detector in vars(annotators).items()} == dict.fromkeys(vars(annotators), 1)
