"""The page to try a control: in a browser it shows what `lisa_jax sample` draws."""

import importlib
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from toys.browser import started_browser

from lisa_jax.demo.artist import Artist
from lisa_jax.demo.canvas import canvas_for
from lisa_jax.demo.examples import Example, examples_of
from lisa_jax.demo.page import Page, launch
from lisa_jax.drawing.networks import networks_of_runs
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.media.decode import decode_picture
from lisa_jax.media.image import IMAGE
from lisa_jax.processes import Diffusion

ROOT = Path(__file__).parents[2]


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
def address(trained_run, tiny_data, tmp_path_factory):
    """Of a page for the finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LISA_JAX_DATA", str(tiny_data))
        networks = networks_of_runs({str(trained_run): load_run(trained_run)}, "auto")
        examples = examples_of(networks)
    assert len(examples) == 7
    blocks = Page(Artist(networks), examples, tmp_path_factory.mktemp("page")).blocks()
    yield launch(blocks, "127.0.0.1", None, wait=False)
    blocks.close()


@pytest.fixture
def page(address):
    """The page in a browser; fails where anything was fetched from elsewhere."""
    elsewhere = []
    with started_browser() as browser:
        page = browser.new_page()
        page.on("request", lambda one: one.url.startswith((address, "data:", "blob:")) or elsewhere.append(one.url))
        page.goto(address)
        yield page
    assert elsewhere == []


def shown(page, name):
    """A picture of the page, uint8 (H, W, 3)."""
    image = page.locator(f"#{name} img")
    image.wait_for(timeout=60_000)
    return np.asarray(Image.open(io.BytesIO(page.request.get(image.get_attribute("src")).body())))


def test_page_shows_what_sample_draws_beside_the_base_alone(page, trained_run, condition, command_env, tmp_path):
    page.locator("#draw").click()
    page.get_by_text("The condition lineart is empty").wait_for()
    page.locator("#file-lineart input[type=file]").set_input_files(condition)
    page.locator("#file-lineart img").wait_for()
    page.locator("#prompt textarea").fill("cat")
    page.locator("#seed input").fill("3")
    page.locator("#draw").click()
    pictures = {name: shown(page, name) for name in ("controlled", "uncontrolled")}

    flags = {"workdir": trained_run, "out": tmp_path, "prompt": "cat", "condition": condition, "seed": 3}
    argv = [sys.executable, "-m", "lisa_jax", "sample", *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    # Upright, unlike as it is stored.
    assert pictures["controlled"].shape == (20, 12, 3)
    np.testing.assert_array_equal(pictures["controlled"], np.asarray(Image.open(tmp_path / "00000.png")))
    assert not np.array_equal(pictures["controlled"], pictures["uncontrolled"])


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
