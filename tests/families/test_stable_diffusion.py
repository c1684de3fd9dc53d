"""Loading a Stable Diffusion folder: what it gives, and what it refuses."""

import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from lisa_jax.diffusers_io.folders import CheckpointError
from lisa_jax.families.pixels import decode, encode
from lisa_jax.families.stable_diffusion import load_stable_diffusion
from lisa_jax.processes import Diffusion
from lisa_jax.run import load_family


@pytest.fixture
def base(tiny_base, tmp_path):
    return shutil.copytree(tiny_base, tmp_path / "base")


def load(folder, **settings):
    return load_stable_diffusion(
        folder, **({"condition_channels": (8,), "frozen_dtype": "float32", "compute_dtype": "float32"} | settings)
    )


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_folder_gives_process_text_and_hooks(base):
    family = load(base)
    assert family.process == Diffusion(1000, "squaredcos_cap_v2", 0.0001, 0.02, "v_prediction")
    assert family.model.hooks == ("down_0", "down_1", "mid")
    context = family.encode_text(["red heart", "cat", ""] * 30)
    assert context.shape == (90, 8, 16)
    np.testing.assert_allclose(context[:3], context[-3:], atol=1e-6)
    assert np.abs(context[0] - context[1]).max() > 0.1


def test_frozen_dtype(base):
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(load(base, frozen_dtype="bfloat16").frozen)}
    assert dtypes == {"bfloat16"}


def test_unknown_dtype_is_refused(base):
    config = ConfigDict({"base": str(base), "frozen_dtype": "float32", "compute_dtype": "bf16"})
    with pytest.raises(ValueError, match=r"config\.compute_dtype is 'bf16': use float32 or bfloat16"):
        load_family(config)


@pytest.mark.parametrize("part", ["unet/config.json", "text_encoder/model.safetensors", "tokenizer/merges.txt"])
def test_fingerprint_tells_bases_apart(base, part):
    before = load(base).fingerprint
    assert load(base).fingerprint == before
    path = base / part
    if path.suffix == ".safetensors":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        path.write_text(path.read_text() + "\n")
    assert load(base).fingerprint != before


def test_refusals_name_what_is_wrong(base, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere is missing"):
        load(tmp_path / "nowhere")
    (base / "vae").mkdir()
    with pytest.raises(CheckpointError, match="vae"):
        load(base)
    (base / "vae").rmdir()
    shutil.move(base / "scheduler", base / "elsewhere")
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json is missing"):
        load(base)


def test_text_encoder_of_another_width_is_refused(base):
    edit(base / "unet" / "config.json", cross_attention_dim=24)
    with pytest.raises(CheckpointError, match=r"attn2\.to_k\.weight.*shape"):
        load(base)


def test_pixels_survive_the_round_trip():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    latents = encode(images)
    assert float(latents.min()) == -1 and float(latents.max()) == 1
    np.testing.assert_array_equal(decode(latents), images)
