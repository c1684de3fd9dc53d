"""The page to try a control: in a browser it shows what `lisa_jax sample` draws."""

import importlib
import io
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lisa_jax.demo.canvas import canvas_for
from lisa_jax.demo.examples import Example, examples_of
from lisa_jax.demo.page import Page, launch
from lisa_jax.media.decode import decode_picture
from lisa_jax.media.image import IMAGE
from lisa_jax.processes import Diffusion

ROOT = Path(__file__).parents[2]
# Keeps what is written over the result with control while it is made.
NOTE_PROGRESS = """
window.told = {controlled: new Set(), uncontrolled: new Set()};
for (const name in window.told) {
  const place = document.querySelector("#" + name);
  const note = () => window.told[name].add(place.innerText);
  new MutationObserver(note).observe(place, {subtree: true, childList: true, characterData: true});
}
"""

# Gradio gives what was folded its first value again, a frame after it is seen: what was filled in before is lost.
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def condition(tmp_path_factory):
    """A picture of 16 bits a channel, stored sideways: what a browser's canvas would change."""
    file = tmp_path_factory.mktemp("condition") / "lines.png"
    pixels = np.random.default_rng(0).integers(0, 2**16, (24, 40), np.uint16)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(file, exif=exif)
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the page keeps drawings."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def examples(networks, tiny_data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LISA_JAX_DATA", str(tiny_data))
        return examples_of(networks)


@pytest.fixture(scope="module")
def address(artist, examples, folder):
    """Of a page for the finished run."""
    blocks = Page(artist, examples, folder).blocks()
    yield launch(blocks, "127.0.0.1", None, wait=False)
    blocks.close()


@pytest.fixture
def page(opened, address):
    page = opened(address)
    yield page
    page.close()


def test_page_shows_what_sample_draws_beside_the_base_alone(
    page, shown, upload, trained_run, condition, command_env, tmp_path
):
    page.locator("#draw").click()
    page.get_by_text("The condition lineart is empty").wait_for()
    upload(page, "lineart", condition)
    page.locator("#prompt textarea").fill("cat")
    page.locator("#seed input").fill("3")
    page.get_by_label("number input for Scale of lineart").fill("0.5")
    page.get_by_text("More settings").click()
    page.get_by_label("Sampler").wait_for()
    page.evaluate(TWO_FRAMES)
    page.get_by_label("Negative prompt").fill("sun")
    page.get_by_label("Sampler").click()
    page.get_by_role("option", name="euler").click()
    page.get_by_label("number input for Steps").fill("2")
    page.get_by_label("number input for Guidance").fill("2.5")
    page.keyboard.press("Tab")
    page.evaluate(NOTE_PROGRESS)
    page.locator("#draw").click()
    pictures = {name: shown(page, name) for name in ("uncontrolled", "controlled")}
    first, second = page.evaluate("Object.values(window.told).map((texts) => [...texts].join())")
    assert "0/2 pictures" in first and "with control" in first
    assert "1/2 pictures" in second and "without control" in second
    # Where the first picture already stands, nothing lies over it.
    assert "without control" not in first

    flags = {"workdir": trained_run, "out": tmp_path, "prompt": "cat", "condition": condition, "seed": 3}
    flags |= {"control_scale": 0.5, "sampler": "euler", "num_steps": 2, "guidance_scale": 2.5, "negative_prompt": "sun"}
    argv = [sys.executable, "-m", "lisa_jax", "sample", *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    # Upright, unlike as it is stored.
    assert pictures["controlled"].shape == (20, 12, 3)
    for name, file in (("controlled", "00000.png"), ("uncontrolled", "without_control/00000.png")):
        np.testing.assert_array_equal(pictures[name], np.asarray(Image.open(tmp_path / file)))
    assert not np.array_equal(pictures["controlled"], pictures["uncontrolled"])


def black_part_of(element):
    """Where on the page, top, left, height, width, what is black in an element, once it is shown and stays."""
    before = None
    for _ in range(50):
        picture = np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))
        place, black = element.bounding_box(), (picture == 0).all(axis=-1)
        rows, columns = np.nonzero(black)
        if black.mean() > 0.2 and np.array_equal(before, black):
            return place["y"] + rows.min(), place["x"] + columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1
        before = black
        element.page.wait_for_timeout(100)
    raise AssertionError("the canvas does not come")


def test_a_stroke_of_the_mouse_is_the_condition(page, shown, artist, drawn_by, folder, tmp_path):
    page.get_by_role("tab", name="Draw").click()
    canvas = page.locator("#canvas-lineart")
    canvas.locator("canvas").first.wait_for()
    top, left, height, width = black_part_of(canvas)
    page.mouse.move(left + 0.3 * width, top + 0.4 * height)
    page.mouse.down()
    page.mouse.move(left + 0.7 * width, top + 0.6 * height, steps=8)
    page.mouse.up()
    page.locator("#prompt textarea").fill("cat")
    page.locator("#draw").click()
    controlled = shown(page, "controlled")

    (file,) = folder.glob("*/lineart.png")
    condition = np.asarray(Image.open(file))[..., 0]
    white, radius = condition > 127, canvas_for((16, 16), None).radius
    assert condition.shape == (448, 448)
    # As thick as the brush, from where the button was pressed to where it was let go.
    for share in (0, 0.25, 0.5, 0.75, 1):
        row, column = (round(448 * (start + share * 0.2 * by)) for start, by in ((0.4, 1), (0.3, 2)))
        assert white[row - 3 : row + 4, column - 3 : column + 4].all()
    assert np.abs(np.ptp(np.nonzero(white), axis=1) - (448 * 0.2 + 2 * radius, 448 * 0.4 + 2 * radius)).max() < 8
    np.testing.assert_array_equal(controlled, drawn_by(artist, "cat", {"lineart": file}))
    Image.new("RGB", (448, 448)).save(tmp_path / "empty.png")
    # After a few steps of training it hardly changes a picture, unless its effect is enlarged.
    strong = {"control_scale": {"lineart": 1000.0}}
    stroke, empty = (drawn_by(artist, "cat", {"lineart": one}, **strong) for one in (file, tmp_path / "empty.png"))
    assert not np.array_equal(stroke, empty)


def test_an_example_fills_in_prompt_and_condition(page, shown, artist, examples, drawn_by, tmp_path):
    assert len(examples) == 7
    chosen = examples[2]
    page.get_by_role("tab", name="Draw").click()
    page.get_by_text(chosen.caption, exact=True).click()
    page.locator("#file-lineart img").wait_for()
    assert page.locator("#prompt textarea").input_value() == chosen.caption
    page.locator("#draw").click()
    Image.fromarray(chosen.conditions["lineart"]).save(tmp_path / "chosen.png")
    expected = drawn_by(artist, chosen.caption, {"lineart": tmp_path / "chosen.png"})
    np.testing.assert_array_equal(shown(page, "controlled"), expected)


def test_other_strengths_of_control_and_guidance_compile_nothing(artist, drawn_by, condition, caplog):
    caplog.set_level(logging.INFO, "lisa_jax")
    pictures = [drawn_by(artist, "cat", {"lineart": condition}, guidance_scale=1.5)]
    caplog.clear()
    for settings in ({"guidance_scale": 6.0}, {"guidance_scale": 1.5, "control_scale": {"lineart": 1000.0}}):
        pictures.append(drawn_by(artist, "cat", {"lineart": condition}, **settings))
        assert not np.array_equal(pictures[0], pictures[-1])
    assert not caplog.messages


def test_what_is_no_picture_is_told_on_the_page(page, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture at all")
    page.locator("#file-lineart input[type=file]").set_input_files(broken)
    page.wait_for_function("document.querySelector('#file-lineart img')")
    page.locator("#draw").click()
    page.get_by_text("are no picture of a known format").wait_for()


def test_canvas_has_the_ground_of_the_conditions():
    page, lines = np.full((8, 12, 3), 255, np.uint8), np.zeros((8, 12, 3), np.uint8)
    page[2:6, 2:6], lines[2:6, 2:6] = 0, 255
    assert canvas_for((8, 12), page).words == "black on white"
    dark = canvas_for((8, 12), lines)
    assert dark.words == canvas_for((8, 12), None).words == "white on black"
    assert dark.size == (299, 448) and dark.shows_nothing(dark.empty())


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_conditions_of_other_channels_are_examples_and_drawings(channels, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, channels), np.uint8)
    opaque = channels == 1
    # A light rim; where opacity is a channel, a transparent one.
    pixels[[0, -1]], pixels[:, [0, -1]] = 250, 250
    if not opaque:
        pixels[[0, -1], :, -1], pixels[:, [0, -1], -1] = 0, 0
    sampling = {"sampler": "ddim", "num_steps": 1, "guidance_scale": 1.0}
    family = SimpleNamespace(medium=IMAGE, process=object.__new__(Diffusion))
    networks = SimpleNamespace(names=("own",), family=family, sampling=sampling)
    artist = SimpleNamespace(networks=networks, sizes=SimpleNamespace(trained=(16, 16)))
    page = Page(artist, [Example("an example", {"own": pixels})], tmp_path)
    # What the browser is sent when an example is chosen is what the reader of conditions opens.
    uploaded = next(part for part in page.blocks().blocks.values() if getattr(part, "elem_id", None) == "file-own")
    sent = uploaded.postprocess(str(tmp_path / "example 0 own.png"))
    np.testing.assert_array_equal(decode_picture(Path(sent.path), "sent", channels), pixels)

    drawn = page.canvases["own"].empty()
    drawn[100:200, 100:200] = 0
    (file,) = page.wish("a prompt", "", 0, {}, ("draw", None, {"composite": drawn}, 1.0)).request.conditions.values()
    read = decode_picture(file, "drawn", channels)
    grounds = {1: [255], 2: [255, 0], 4: [255, 255, 255, 0]}
    strokes = {1: [0], 2: [0, 255], 4: [0, 0, 0, 255]}
    assert read[0, 0].tolist() == grounds[channels] and read[150, 150].tolist() == strokes[channels]
    assert page.canvases["own"].words == "black on white" + ("" if opaque else ", which is transparent")


def test_missing_gradio_is_told_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "lisa_jax.demo.page", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'lisa_jax\[demo\]'"):
        importlib.import_module("lisa_jax.demo.page")
