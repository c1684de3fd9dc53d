"""A base with another VAE in place of its own: what is read of it, what it is checked against, and what it changes."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.configs import sd21_lisa
from lisa_jax.experiments.base import absolute_paths, architecture
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of, write_random_base
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.registry import load_family
from lisa_jax.preparing.encoding import load_encoding

WEIGHTS = "diffusion_pytorch_model.safetensors"
BASES = ("tiny_sdxl", "tiny_sd3_medium")


@pytest.fixture(scope="module", params=BASES)
def sources(request, tmp_path_factory):
    """A base, and a VAE of its latents with other weights."""
    root = tmp_path_factory.mktemp(request.param)
    preset = preset_of(request.param)
    base = write_random_base(request.param, root / "base")
    VAE.write(root / "vae", preset.vae, random_tree(VAE.key_table(preset.vae), seed=5))
    return base, root / "vae"


def assert_equal(found, expected):
    assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))


def test_a_vae_is_taken_from_its_folder_from_a_base_and_from_a_file(sources, tmp_path):
    base, vae = sources
    expected = VAE.read(open_checkpoint(vae), "", np.float32)[1]
    of_base = shutil.copytree(base, tmp_path / "base")
    shutil.copytree(vae, of_base / "vae", dirs_exist_ok=True)
    shutil.copy(vae / WEIGHTS, tmp_path / "alone.safetensors")
    # What a file does not say, its scale among it, is as of the base's own; of tiny networks also their groups.
    setup = Setup(compute_dtype="float32", frozen_dtype="float32")
    own = load_family(base, setup)
    prints = {own.fingerprint}
    for source in (vae, of_base, tmp_path / "alone.safetensors"):
        family = load_family(base, setup, vae=source)
        assert_equal(family.latents.params, expected)
        prints.add(family.fingerprint)
        assert family.latents.shape(64, 64) == own.latents.shape(64, 64)
    # The VAE of a folder is the same wherever it lies; a file's config lacks what is not known of it.
    assert len(prints) == 2
    moved = shutil.copytree(vae, tmp_path / "moved")
    assert load_family(base, setup, vae=moved).fingerprint in prints


def test_a_folder_is_written_with_the_other_vae(sources, tmp_path):
    base, vae = sources
    family = load_family(base, Setup(frozen_dtype="float32"), vae=vae)
    family.write_main(tmp_path, family.frozen)
    assert (tmp_path / "vae" / WEIGHTS).read_bytes() == (vae / WEIGHTS).read_bytes()


@pytest.mark.parametrize("sources", BASES[:1], indirect=True)
def test_a_vae_of_another_base_is_refused_by_what_differs(sources, tmp_path):
    base, vae = sources
    for field, value in (("latent_channels", 8), ("scaling_factor", 0.18215), ("shift_factor", 0.1)):
        config = dataclasses.replace(preset_of("tiny_sdxl").vae, **{field: value})
        other = tmp_path / field
        VAE.write(other, config, random_tree(VAE.key_table(config), seed=0))
        with pytest.raises(
            CheckpointError, match=rf"{field} has {field} {value}, but .*base/vae .*: it is a VAE of an"
        ):
            open_checkpoint(base, vae=other)
    scaled = shutil.copytree(vae, tmp_path / "scaled")
    fields = json.loads((scaled / "config.json").read_text()) | {"latents_mean": [0.0] * 4}
    (scaled / "config.json").write_text(json.dumps(fields))
    with pytest.raises(CheckpointError, match=r"latents_mean .* is not supported, as for Playground 2\.5"):
        open_checkpoint(base, vae=scaled)
    with pytest.raises(CheckpointError, match=r"is no base: a ControlNet goes to .*, a VAE to --vae"):
        shutil.copy(vae / WEIGHTS, tmp_path / "alone.safetensors")
        load_family(tmp_path / "alone.safetensors", Setup())
    with pytest.raises(CheckpointError, match="a VAE alone, not a base: it goes to --vae"):
        load_family(vae, Setup())
    without = shutil.copytree(base, tmp_path / "without", ignore=shutil.ignore_patterns("vae"))
    assert load_family(without, Setup(), vae=vae).latents.draws


@pytest.mark.parametrize("sources", BASES[:1], indirect=True)
def test_a_config_names_the_vae_by_an_absolute_path(sources, monkeypatch):
    base, vae = sources
    monkeypatch.chdir(vae.parent)
    config = ConfigDict(sd21_lisa.get_config("pose"))
    config.base, config.vae = str(base), "vae"
    absolute_paths(config)
    assert config.vae == str(vae)
    assert architecture(config, None).vae == preset_of("tiny_sdxl").vae


@pytest.mark.parametrize("sources", BASES[:1], indirect=True)
def test_what_is_prepared_with_another_vae_is_of_the_base_with_it(sources):
    base, vae = sources
    encoding = load_encoding(base, ("moments",), 1, vae=vae)
    assert encoding.fingerprint == load_family(base, Setup(), vae=vae).fingerprint
    assert_equal(encoding.latents.params, VAE.read(open_checkpoint(vae), "", np.float32)[1])
    with pytest.raises(ValueError, match="--vae is of the base that encodes, but nothing is: give --cache, or no --va"):
        load_encoding(base, (), 1, vae=vae)
