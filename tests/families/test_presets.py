"""Presets have the published sizes; random folders are whole, repeatable, and keep activations in bounds."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lisa_jax.checkpoints.checkpoint import open_checkpoint
from lisa_jax.checkpoints.clip_text import CLIP_TEXT, CLIP_TEXT_WITH_PROJECTION
from lisa_jax.checkpoints.control_lora import low_rank_table
from lisa_jax.checkpoints.controlnet import CONTROLNET
from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.checkpoints.sd3_controlnet import SD3_CONTROLNET
from lisa_jax.checkpoints.sd3_transformer import SD3_TRANSFORMER
from lisa_jax.checkpoints.tokenizer import load_tokenizer
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.families import stable_diffusion_presets
from lisa_jax.families.alphabet_tokenizer import write_alphabet_tokenizer
from lisa_jax.families.autoencoder import autoencoder_latents
from lisa_jax.families.family import Setup
from lisa_jax.families.presets import preset_of, write_random_base
from lisa_jax.families.sd3_side_networks import copied_side_network
from lisa_jax.models.clip_text import CLIPTextModel
from lisa_jax.models.controlnet import controlnet_config_from_unet, residual_channels
from lisa_jax.models.small_controlnet import small_controlnet_config
from lisa_jax.models.unet import UNet

ROOT = Path(__file__).parents[2]


def count(table):
    return sum(int(np.prod(entry.shape)) for entry in table.values())


@pytest.mark.parametrize(
    ("name", "unet", "text"), [("sd15", 859_520_964, 123_060_480), ("sd21_v", 865_910_724, 340_387_840)]
)
def test_full_presets_have_the_published_sizes(name, unet, text):
    full = preset_of(name)
    assert count(UNET.key_table(full.unet)) == unet
    assert count(CLIP_TEXT.key_table(full.text)) == text
    assert count(VAE.key_table(full.vae)) == 83_653_863
    assert full.controlnet.conditioning_downsampling == full.vae.downsampling == 8
    assert full.image_size == {"sd15": 512, "sd21_v": 768}[name]


@pytest.mark.parametrize(
    ("name", "transformer", "side"),
    [
        ("sd3_medium", 2_028_328_000 + 192**2 * 1536, 1_062_855_168 + 192**2 * 1536),
        ("sd35_medium", 2_243_171_520 + 384**2 * 1536, 1_261_169_664 + 384**2 * 1536),
        ("sd35_large", 8_056_627_520 + 192**2 * 2432, 2_654_723_200 + 192**2 * 2432),
    ],
)
def test_full_presets_of_stable_diffusion_3_have_the_published_sizes(name, transformer, side):
    full = preset_of(name)
    assert count(SD3_TRANSFORMER.key_table(full.transformer)) == transformer
    assert [count(CLIP_TEXT_WITH_PROJECTION.key_table(config)) for config in full.clip] == [123_650_304, 694_659_840]
    assert count(VAE.key_table(full.vae)) == 83_819_683
    assert full.image_size == 1024 and process_of(full.scheduler).shift == 3.0
    tiny = preset_of(f"tiny_{name}")
    assert tiny.transformer.qk_norm == full.transformer.qk_norm and tiny.scheduler == full.scheduler
    assert bool(tiny.transformer.dual_attention_layers) == bool(full.transformer.dual_attention_layers)
    assert [config.hidden_act for config in tiny.clip] == [config.hidden_act for config in full.clip]
    config = copied_side_network(None, full.transformer, None).config
    assert config.num_layers == 12 and count(SD3_CONTROLNET.key_table(config)) == side


def test_the_full_preset_of_stable_diffusion_xl_has_the_published_sizes():
    full, tiny = preset_of("sdxl"), preset_of("tiny_sdxl")
    assert count(UNET.key_table(full.unet)) == 2_567_463_684
    side = controlnet_config_from_unet(full.unet)
    assert count(CONTROLNET.key_table(side)) == 1_251_014_160 and len(residual_channels(side)) == 9 + 1
    clip_l, clip_g = full.clip
    assert count(CLIP_TEXT.key_table(clip_l)) == 123_060_480
    assert count(CLIP_TEXT_WITH_PROJECTION.key_table(clip_g)) == 694_659_840
    assert count(VAE.key_table(full.vae)) == 83_653_863 and full.vae.scaling_factor == 0.13025
    assert (full.image_size, full.unet.pooled_dim) == (1024, 1280)
    for field in ("use_linear_projection", "layers_per_block", "down_block_types", "addition_embed_type", "levels"):
        assert getattr(tiny.unet, field) == getattr(full.unet, field)
    assert tiny.scheduler == full.scheduler and count(UNET.key_table(tiny.unet)) < 1e6


def test_the_page_on_light_side_networks_says_their_sizes():
    page = (ROOT / "docs" / "control_lora.md").read_text()
    side = controlnet_config_from_unet(preset_of("sdxl").unet)
    for rank in (64, 128, 256):
        trained = count(low_rank_table(side, rank))
        assert f"rank {rank} | {trained:,} | {16e-9 * trained:.1f} GB | {2e-6 * trained:.0f} MB |" in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"layers_per_block": 1}, "`layers_per_block=1`"),
        ({"block_out_channels": (160, 320, 640)}, "`block_out_channels=160,320,640`"),
        ({"block_out_channels": (160, 320, 640), "layers_per_block": 1}, "both"),
        ({"block_out_channels": (80, 160, 320)}, "`block_out_channels=80,160,320`"),
        ({"block_out_channels": (320, 640)}, "`block_out_channels=320,640` (no coarsest level, no mid block)"),
    ],
)
def test_the_page_on_light_side_networks_says_the_sizes_of_smaller_copies(settings, told):
    page = (ROOT / "docs" / "control_lora.md").read_text()
    config = small_controlnet_config(controlnet_config_from_unet(preset_of("sdxl").unet), **settings)
    trained = count(CONTROLNET.key_table(config))
    assert f"| {told} | {trained:,} | {16e-9 * trained:.1f} GB |" in page


@pytest.mark.parametrize("name", [name for name in stable_diffusion_presets.PRESETS if not name.startswith("tiny")])
def test_tiny_presets_have_the_switches_of_the_full_ones(name):
    full, tiny = preset_of(name), preset_of(f"tiny_{name}")
    for field in ("use_linear_projection", "upcast_attention", "layers_per_block", "down_block_types", "levels"):
        assert getattr(tiny.unet, field) == getattr(full.unet, field)
    assert isinstance(tiny.unet.attention_head_dim, type(full.unet.attention_head_dim))
    assert (tiny.text.hidden_act, tiny.pad_token, tiny.scheduler) == (
        full.text.hidden_act,
        full.pad_token,
        full.scheduler,
    )
    assert tiny.vae.downsampling == full.vae.downsampling
    assert count(UNET.key_table(tiny.unet)) < 1e6


@pytest.fixture(scope="module")
def sd15(tmp_path_factory):
    return "tiny_sd15", write_random_base("tiny_sd15", tmp_path_factory.mktemp("base") / "folder")


@pytest.fixture(scope="module")
def sd21_v(tmp_path_factory):
    return "tiny_sd21_v", write_random_base("tiny_sd21_v", tmp_path_factory.mktemp("base") / "folder")


def run(function, *args):
    return jax.jit(function)(*args)


@pytest.mark.slow
@pytest.mark.parametrize("written", ["sd15", "sd21_v"])
def test_random_folder_keeps_activations_in_bounds(written, request):
    name, folder = request.getfixturevalue(written)
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert process_of(scheduler).prediction_type == preset_of(name).scheduler["prediction_type"]
    text_config, text = CLIP_TEXT.read(open_checkpoint(folder), "text_encoder")
    unet_config, unet = UNET.read(open_checkpoint(folder), "unet")
    vae_config, vae_params = VAE.read(open_checkpoint(folder), "vae")
    vae = autoencoder_latents(vae_config, lambda: vae_params)
    ids = load_tokenizer(open_checkpoint(folder), "tokenizer")(["a photo of a cat", "two dogs"])
    context = run(CLIPTextModel(text_config).apply, {"params": text}, ids).last_hidden_state
    x_t = jax.random.normal(jax.random.key(0), (2, 8, 8, 4))
    prediction = run(UNet(unet_config).apply, {"params": unet}, x_t, jnp.array([1.0, 999.0]), context)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    moments = run(vae.moments, vae.params, images)
    decoded = run(vae.decode, vae.params, x_t).astype(jnp.float32)
    for output in (context, prediction, moments):
        assert 0.1 < float(jnp.std(output)) < 10
    assert 10 < float(jnp.std(decoded)) < 120
    assert float(jnp.abs(context[0] - context[1]).max()) > 0.1


def test_a_seed_gives_the_same_bytes_and_another_other_ones(sd15, tmp_path):
    name, folder = sd15
    again, other = write_random_base(name, tmp_path / "again"), write_random_base(name, tmp_path / "other", seed=1)
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 12
    same = {file: (folder / file).read_bytes() == (again / file).read_bytes() for file in files}
    assert all(same.values()), same
    for file in files:
        changed = (folder / file).read_bytes() != (other / file).read_bytes()
        assert changed == (file.suffix == ".safetensors"), file


@pytest.mark.parametrize(("pad_token", "pad_id"), [("<|endoftext|>", 49407), ("!", 0)])
def test_full_tokenizer_has_clips_special_ids(tmp_path, pad_token, pad_id):
    write_alphabet_tokenizer(tmp_path, 49408, pad_token)
    tokenizer = load_tokenizer(open_checkpoint(tmp_path))
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (49408, 49406, 49407)
    ids = tokenizer(["a Photograph of 3 cats, ☂", ""])
    assert ids.shape == (2, 77) and ids.max() == 49407
    assert ids[0, 0] == 49406 and ids[0, -1] == pad_id and list(ids[1, :3]) == [49406, 49407, pad_id]
    with pytest.raises(ValueError, match="vocab_size 513 is too small"):
        write_alphabet_tokenizer(tmp_path, 513, pad_token)


def test_an_existing_folder_is_kept(sd15):
    name, folder = sd15
    with pytest.raises(FileExistsError, match=f"{folder} exists"):
        write_random_base(name, folder)


def test_command_refuses_in_one_sentence(sd15, command_env):
    name, folder = sd15
    argv = [sys.executable, "-m", "lisa_jax", "new_base", f"--preset={name}", f"--out={folder}"]
    done = subprocess.run(argv, env=command_env, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and f"error: {folder} exists" in done.stderr and "Traceback" not in done.stderr


def test_a_base_says_how_large_its_pictures_are():
    sizes = {name: preset_of(name).architecture.abstract(Setup()).size for name in ("sd15", "sd21_v", "tiny_sd21")}
    assert sizes == {"sd15": (512, 512), "sd21_v": (768, 768), "tiny_sd21": (64, 64)}


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="Unknown preset 'sd9': there are sd15, sd21"):
        preset_of("sd9")
