"""Loading a Stable Diffusion folder: what it gives, and what it refuses."""

import json
import shutil

import jax
import numpy as np
import pytest

from lisa_jax.checkpoints.checkpoint import CheckpointError
from lisa_jax.families.family import Setup
from lisa_jax.families.pixels import PIXELS
from lisa_jax.families.presets import write_random_base
from lisa_jax.families.registry import load_family
from lisa_jax.processes import Diffusion


@pytest.fixture
def base(tiny_base, tmp_path):
    return shutil.copytree(tiny_base, tmp_path / "base")


@pytest.fixture(scope="module")
def vae_base(tmp_path_factory):
    return write_random_base("tiny_sd21_v", tmp_path_factory.mktemp("stable_diffusion") / "base")


def load(folder, placement=None, frozen_dtype="float32"):
    setup = Setup(("edges",), condition_channels=(8,), frozen_dtype=frozen_dtype, compute_dtype="float32")
    return load_family(folder, setup, placement)


def contexts(family, *captions):
    return family.conditioner.contexts([{"caption": caption} for caption in captions])


def edit(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_folder_gives_process_text_and_hooks(base):
    family = load(base)
    assert family.process == Diffusion(1000, "squaredcos_cap_v2", None, None, "v_prediction")
    assert family.model.hooks == ("down_0", "down_1", "mid")
    context = contexts(family, *["red heart", "cat", ""] * 30)
    assert context.shape == (90, 8, 16)
    assert context.shape[1:] == family.conditioner.shapes.shape and context.dtype == family.conditioner.shapes.dtype
    np.testing.assert_allclose(context[:3], context[-3:], atol=1e-6)
    assert np.abs(context[0] - context[1]).max() > 0.1
    np.testing.assert_allclose(family.conditioner.empty, context[2:3], atol=1e-6)
    null = family.conditioner.null(context, family.conditioner.empty)
    np.testing.assert_allclose(null, np.repeat(context[2:3], 90, axis=0), atol=1e-6)


def test_the_scheduler_says_which_diffusion_or_is_refused_by_its_file(base):
    path = base / "scheduler" / "scheduler_config.json"
    edit(path, rescale_betas_zero_snr=True)
    assert load(base).process.rescale_betas_zero_snr
    edit(path, prediction_type="epsilon")
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json: rescale_betas_zero_snr .* with v_prediction"):
        load(base)
    edit(path, _class_name="FlowMatchEulerDiscreteScheduler")
    with pytest.raises(CheckpointError, match="describes RectifiedFlow, but Stable Diffusion is a discrete diffusion"):
        load(base)


def test_frozen_dtype(base):
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(load(base, frozen_dtype="bfloat16").frozen)}
    assert dtypes == {"bfloat16"}


@pytest.mark.parametrize(
    "part",
    [
        "unet/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ],
)
def test_fingerprint_tells_bases_apart(vae_base, tmp_path, part):
    base = shutil.copytree(vae_base, tmp_path / "base")
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
    shutil.move(base / "scheduler", base / "elsewhere")
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json is missing"):
        load(base)


def test_text_encoder_of_another_width_is_refused(base):
    edit(base / "unet" / "config.json", cross_attention_dim=24)
    with pytest.raises(CheckpointError, match="text encoder is 16 wide, but the UNet's cross_attention_dim is 24"):
        load(base)


def test_a_unet_of_other_latents_is_refused(vae_base, tmp_path):
    base = shutil.copytree(vae_base, tmp_path / "base")
    shutil.rmtree(base / "vae")
    with pytest.raises(CheckpointError, match=r"vae/config\.json is missing: the UNet gives latents of 4 channels"):
        load(base)
    base = shutil.copytree(vae_base, tmp_path / "inpainting")
    edit(base / "unet" / "config.json", in_channels=9)
    with pytest.raises(
        CheckpointError, match=r"latents have 4 channels, but the UNet takes 9 \(as those of inpainting\) and gives 4"
    ):
        load(base)


def test_a_folder_with_a_vae_has_its_latents_and_process(vae_base):
    family = load(vae_base)
    assert family.process.prediction_type == "v_prediction" == family.scheduler["prediction_type"]
    assert family.latents.shape(64, 32) == (8, 4, 4)
    moments = jax.eval_shape(family.latents.moments, family.latents.params, np.zeros((2, 64, 32, 3), np.uint8))
    assert moments.shape == (2, 8, 4, 8)


def test_each_part_is_read_at_its_first_use_and_the_side_s_start_anew_each_time(vae_base, tmp_path):
    base = shutil.copytree(vae_base, tmp_path / "base")
    family = load(base)
    texts = contexts(family, "a cat")
    for part, stem in (
        ("text_encoder", "model"),
        ("vae", "diffusion_pytorch_model"),
        ("unet", "diffusion_pytorch_model"),
    ):
        (base / part / f"{stem}.safetensors").unlink()
    np.testing.assert_array_equal(contexts(family, "a cat"), texts)
    with pytest.raises(CheckpointError, match=r"vae/diffusion_pytorch_model\.safetensors is missing"):
        _ = family.latents.params
    with pytest.raises(CheckpointError, match=r"unet/diffusion_pytorch_model\.safetensors is missing"):
        _ = family.frozen
    with pytest.raises(CheckpointError, match=r"unet/diffusion_pytorch_model\.safetensors is missing"):
        family.read_start()


def test_frozen_weights_are_placed_as_they_are_read(base):
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    leaves = jax.tree.leaves(load(base, placement=device).frozen)
    assert all(isinstance(leaf, jax.Array) and leaf.sharding == device for leaf in leaves)


def test_the_whole_base_is_written_with_its_vae(vae_base, tmp_path):
    family = load(vae_base)
    family.write_main(tmp_path, family.frozen)
    components = {"unet", "vae", "text_encoder", "tokenizer", "scheduler"}
    assert {path.name for path in tmp_path.iterdir()} == components | {"model_index.json"}
    written, read = ((folder / "model_index.json").read_text() for folder in (tmp_path, vae_base))
    assert written == read
    assert load(tmp_path).fingerprint == family.fingerprint


def test_a_main_network_alone_has_no_hooks(base):
    model = load_family(base, Setup()).model
    assert model.hooks == ()
    with pytest.raises(ValueError, match="Unknown hook 'mid': these side networks have none"):
        model.check_hooks(("mid",))


def test_pixels_survive_the_round_trip():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    latents = PIXELS.sample(PIXELS.moments({}, images), jax.random.key(0))
    assert float(latents.min()) == -1 and float(latents.max()) == 1
    np.testing.assert_array_equal(PIXELS.decode({}, latents), images)
