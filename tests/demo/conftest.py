"""A page of `lisa_jax demo` in a browser: what is done there, and what it shows."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys.browser import started_browser

from lisa_jax.demo.artist import Artist, Wish
from lisa_jax.drawing.networks import networks_of_runs
from lisa_jax.drawing.requests import Request
from lisa_jax.experiments.saved_run import load_run


@pytest.fixture(scope="module")
def browser():
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def opened(browser):
    """Address -> the page there; the test fails where anything was fetched from elsewhere."""
    elsewhere = []

    def open_page(address):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.on("request", lambda one: one.url.startswith((address, "data:", "blob:")) or elsewhere.append(one.url))
        page.goto(address)
        page.locator("#draw").wait_for()
        return page

    yield open_page
    assert elsewhere == []


@pytest.fixture(scope="session")
def networks(trained_run):
    return networks_of_runs({str(trained_run): load_run(trained_run)}, "auto")


@pytest.fixture(scope="session")
def artist(networks):
    return Artist(networks)


@pytest.fixture(scope="session")
def upload():
    """Give a condition's picture, and wait until it is there."""

    def give(page, name, file):
        page.locator(f"#file-{name} input[type=file]").set_input_files(file)
        page.locator(f"#file-{name} img").wait_for()

    return give


@pytest.fixture(scope="session")
def shown():
    """Page, "controlled" or "uncontrolled" -> the picture there, uint8 (H, W, 3)."""

    def picture(page, name):
        image = page.locator(f"#{name} img")
        image.wait_for(timeout=120_000)
        return np.asarray(Image.open(io.BytesIO(page.request.get(image.get_attribute("src")).body())))

    return picture


@pytest.fixture(scope="session")
def drawn_by():
    """What an artist draws by itself, uint8 (H, W, 3)."""

    def draw(artist, prompt, files, seed=0, **settings):
        conditions = {name: Path(file) for name, file in files.items()}
        return artist.draw(Wish(Request("the test", prompt, conditions, ""), seed, settings))

    return draw
