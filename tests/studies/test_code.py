"""Which edits make another study."""

import shutil
from pathlib import Path

import lisa_jax
from lisa_jax.studies import code


def names():
    root = Path(lisa_jax.__file__).parent
    return {file.relative_to(root).as_posix() for file in code.code_files()}


def test_what_a_cell_runs_counts_and_what_only_tells_of_results_does_not():
    found = names()
    decides = {"alignment.py", "weighting.py", "models/unet.py", "models/alignment_decoder.py", "training/optimizer.py"}
    decides |= {"families/stable_diffusion.py", "sampling/generate.py", "sampling/samplers/ddim.py", "studies/trial.py"}
    assert decides <= found
    assert not [name for name in found if name.startswith(("reporting/", "probing/", "exporting/", "commands/"))]


def test_an_edit_of_an_imported_file_changes_the_fingerprint_and_of_another_one_does_not(tmp_path, monkeypatch):
    copy = tmp_path / "lisa_jax"
    shutil.copytree(Path(lisa_jax.__file__).parent, copy, ignore=shutil.ignore_patterns("assets", "__pycache__"))
    monkeypatch.setattr(lisa_jax, "__file__", str(copy / "__init__.py"))
    before = code.code_fingerprint()
    with (copy / "reporting" / "page.py").open("a") as file:
        file.write("# more\n")
    assert code.code_fingerprint() == before
    with (copy / "alignment.py").open("a") as file:
        file.write("# more\n")
    assert code.code_fingerprint() != before
