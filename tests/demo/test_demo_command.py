"""`lisa_jax demo` as a user starts and ends it."""

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from lisa_jax.demo.artist import Artist
from lisa_jax.drawing.networks import networks_of_folders
from lisa_jax.experiments.saved_run import load_run
from lisa_jax.parallel.stop_signals import STOPPED_EARLY

ROOT = Path(__file__).parents[2]


@pytest.fixture
def served(command_env, tmp_path):
    """Flags -> the address of a page that `lisa_jax demo` serves; then Ctrl-C ends it, and it leaves no file."""

    @contextlib.contextmanager
    def serve(**flags):
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        argv = [sys.executable, "-m", "lisa_jax", "demo", *(f"--{name}={value}" for name, value in flags.items())]
        streams = {"stdout": subprocess.PIPE, "stderr": (tmp_path / "stderr").open("w"), "text": True}
        env = command_env | {"TMPDIR": str(temporary)}
        process = subprocess.Popen([*argv, f"--port={port}"], env=env, cwd=ROOT, **streams)
        try:
            said = process.stdout.readline()
            assert said == f"The page is at http://127.0.0.1:{port}/ until Ctrl-C.\n", read_text(tmp_path)
            yield f"http://127.0.0.1:{port}/"
            assert any(temporary.rglob("*.png"))
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == STOPPED_EARLY
            assert "Ctrl-C: the page is closed; the same command opens it again." in read_text(tmp_path)
            assert "Traceback" not in read_text(tmp_path)
            assert list(temporary.iterdir()) == []
        finally:
            process.kill()
            process.communicate()

    return serve


def read_text(folder):
    return (folder / "stderr").read_text()


@pytest.fixture(scope="module")
def conditions(tmp_path_factory):
    """Two condition pictures."""
    files = [tmp_path_factory.mktemp("conditions") / f"{name}.png" for name in "ab"]
    for seed, file in enumerate(files):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(file)
    return files


def test_the_page_of_a_run(served, opened, upload, shown, artist, drawn_by, trained_run, conditions):
    with served(workdir=trained_run) as address:
        page = opened(address)
        upload(page, "lineart", conditions[0])
        page.locator("#prompt textarea").fill("cat")
        page.locator("#draw").click()
        picture = shown(page, "controlled")
    np.testing.assert_array_equal(picture, drawn_by(artist, "cat", {"lineart": conditions[0]}))


def test_the_page_of_two_controlnets_beside_a_base(
    served, opened, upload, shown, drawn_by, trained_run, conditions, tmp_path
):
    run = load_run(trained_run)
    folders = [str(tmp_path / name) for name in ("pose", "depth")]
    for folder, more in zip(folders, (0.05, -0.05), strict=True):
        run.family.write_side(
            Path(folder), "lineart", jax.tree.map(lambda leaf, more=more: leaf + more, run.side["lineart"])
        )
    files, scales = dict(zip(("pose", "depth"), conditions, strict=True)), {"pose": 1.5, "depth": 0.5}
    base = run.config.base
    with served(base=base, controlnet=",".join(folders), dtype="float32") as address:
        page = opened(address)
        for name, file in files.items():
            upload(page, name, file)
            page.get_by_label(f"number input for Scale of {name}").fill(str(scales[name]))
        page.locator("#prompt textarea").fill("cat")
        page.locator("#draw").click()
        picture, bare = shown(page, "controlled"), shown(page, "uncontrolled")
    artist = Artist(networks_of_folders(base, folders, "float32"))
    np.testing.assert_array_equal(picture, drawn_by(artist, "cat", files, control_scale=scales))
    assert not np.array_equal(picture, bare)
