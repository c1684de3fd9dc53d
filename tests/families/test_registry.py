"""The one door: which architecture a checkpoint is, by the class that it names, and what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

import lisa_jax
from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.families.presets import PRESETS, preset_of, write_random_base
from lisa_jax.families.registry import FAMILIES, architecture_of

EMBEDDED = sorted((Path(lisa_jax.__file__).parent / "assets").glob("*_base"))
# What the embedded bases name, but for the UNets of pictures.
OTHERS = {"openmoji_flow_base": "StableDiffusion3Pipeline", "figures_video_base": "StableVideoDiffusionPipeline"}


@pytest.fixture
def base(tmp_path):
    return write_random_base("tiny_sd15", tmp_path / "base")


def name_class(path, name):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": name}))


def found(folder):
    """The architecture of a folder, without the note which diffusers wrote its scheduler's config."""
    architecture = architecture_of(open_checkpoint(folder))
    scheduler = {name: value for name, value in architecture.scheduler.items() if name != "_diffusers_version"}
    return dataclasses.replace(architecture, scheduler=scheduler)


def test_every_preset_is_found_again_in_the_folder_that_is_written_of_it(tmp_path):
    tiny = [name for name in PRESETS if name.startswith("tiny")]
    assert tiny
    for name in tiny:
        assert found(write_random_base(name, tmp_path / name)) == preset_of(name).architecture


@pytest.mark.parametrize("kind", ["StableDiffusionPipeline", "StableDiffusionControlNetPipeline"])
def test_the_class_of_model_index_decides(base, kind):
    name_class(base / "model_index.json", kind)
    assert found(base) == preset_of("tiny_sd15").architecture


def test_another_architecture_is_refused_with_those_that_there_are(base):
    name_class(base / "model_index.json", "StableCascadeCombinedPipeline")
    with pytest.raises(CheckpointError) as refused:
        architecture_of(open_checkpoint(base))
    assert str(refused.value) == (
        f"{base}/model_index.json names a StableCascadeCombinedPipeline (Stable Cascade), which is not supported: "
        f"{', '.join(FAMILIES)} are."
    )


def test_without_model_index_the_class_of_the_unet_decides(base):
    (base / "model_index.json").unlink()
    assert found(base) == preset_of("tiny_sd15").architecture
    name_class(base / "unet" / "config.json", "UNet2DModel")
    with pytest.raises(CheckpointError, match=r"unet/config\.json names a UNet2DModel, which is not supported: Stable"):
        architecture_of(open_checkpoint(base))
    shutil.rmtree(base / "unet")
    with pytest.raises(CheckpointError, match=r"model_index\.json and unet/config\.json are missing"):
        architecture_of(open_checkpoint(base))


@pytest.mark.parametrize("folder", EMBEDDED, ids=lambda folder: folder.name)
def test_the_bases_that_ship_name_their_class(folder):
    assert {path.name for path in EMBEDDED} >= {"openmoji_base", "figures_base", *OTHERS}
    assert _index(folder)["_class_name"] == OTHERS.get(folder.name, "StableDiffusionPipeline")
    assert architecture_of(open_checkpoint(folder)).vae is None


def test_a_new_base_names_its_class_and_its_parts(tiny_base):
    index = _index(tiny_base)
    assert index["_class_name"] == "StableDiffusionPipeline"
    parts = {name: part for name, part in index.items() if isinstance(part, list) and part[0] is not None}
    # It works on pixels, so there is no VAE.
    assert parts.keys() == {path.name for path in tiny_base.iterdir() if path.is_dir()}
    assert parts["scheduler"] == ["diffusers", "DDIMScheduler"]


def _index(folder):
    return json.loads((folder / "model_index.json").read_text())
