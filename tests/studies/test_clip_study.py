"""A study of a family of videos, from drawings that move to a page on which its samples play."""

import dataclasses

import numpy as np
import pytest
from toys.members import FAMILIES, MEMBERS
from toys.study import study_config
from toys.video import family as toy

from lisa_jax.data.embedded.openmoji import catalogue
from lisa_jax.experiments.base import setup_of
from lisa_jax.families import registry
from lisa_jax.media.open_clip import open_clip, read_clip
from lisa_jax.reporting.folders import read
from lisa_jax.reporting.page import render
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.laboratory import Laboratory
from lisa_jax.studies.results import Results
from lisa_jax.studies.runner import run_cells, write_references

LISA = Cell("lineart", 0.5, 1e-2, 0, 8, 8, MEMBERS[toy.read_architecture].hooks[0])


@pytest.fixture
def laboratory(tmp_path, monkeypatch):
    drawings = {"train": [], "test": []}
    for drawing in catalogue.drawings():
        drawings[drawing.split].append(drawing)
    few = [*drawings["train"][300:312], *drawings["test"][40:48]]
    monkeypatch.setattr(catalogue, "drawings", lambda: few)
    monkeypatch.setattr(registry, "FAMILIES", FAMILIES)
    monkeypatch.setenv("LISA_JAX_DATA", str(tmp_path / "data"))
    toy.write_checkpoint(tmp_path / "base")
    config = study_config("openmoji_video")
    config.training.data = {**config.training.data.to_dict(), "image_size": (4, 16, 16)}
    config.training.sampling.update(sampler="euler", guidance_scale=1.0)
    return Laboratory(config, lambda training, mesh: registry.load_family(tmp_path / "base", setup_of(training)))


@pytest.mark.slow
def test_a_study_of_clips_leaves_what_its_report_plays(laboratory, tmp_path):
    """`python -m pytest -m slow tests/studies/test_clip_study.py`: a minute."""
    study = tmp_path / "study"
    study.mkdir()
    write_references(laboratory, ["lineart"], study)
    results = Results(study, {"code": "a"})
    run_cells(laboratory, [dataclasses.replace(LISA, lam=0.0), LISA], results)
    assert all("fidelity/f1_tolerance_0" in row["curve"][-1] for row in results.rows().values())
    real = laboratory.shown("lineart").references
    shown = read_clip(study / "samples" / "lineart" / "reference.webp", "")
    assert shown.shape == (4, 32, 4 * 33 - 1, 3)
    np.testing.assert_array_equal(shown[:, ::2, 33:65:2], real[1])
    with open_clip(study / "samples" / LISA.id / "8.webp", "") as clip:
        assert clip.count == 4 and clip.rate == pytest.approx(7, rel=0.01)
    page = render([read(study)])
    # Condition, reference and three of each run; four of them on the first screen, too.
    assert page.count("data:video/webm;base64,") == 8 + 4
