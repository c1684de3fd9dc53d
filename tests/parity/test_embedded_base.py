"""The base that ships with the package: an ordinary diffusers folder, small, and the same network in both worlds."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

import lisa_jax
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family

BASE = Path(lisa_jax.__file__).parent / "assets" / "openmoji_base"
CAPTIONS = ["red heart", "grinning face with smiling eyes", ""]


def test_folder_is_small_and_attributed():
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) < 12e6
    assert "CC BY-SA 4.0" in (BASE / "NOTICE").read_text()


def test_prediction_and_context_equal_diffusers():
    family = load_family(BASE, Setup(frozen_dtype="float32", compute_dtype="float32"))
    context = family.conditioner.contexts([{"caption": caption} for caption in CAPTIONS])
    tokenizer = CLIPTokenizer.from_pretrained(BASE / "tokenizer")
    ids = tokenizer(CAPTIONS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    x_t = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    t = np.array([0, 500, 999])
    with torch.no_grad():
        text = CLIPTextModel.from_pretrained(BASE / "text_encoder").eval()(ids).last_hidden_state
        unet = UNet2DConditionModel.from_pretrained(BASE / "unet", torch_dtype=torch.float32).eval()
        theirs = unet(torch.from_numpy(x_t.transpose(0, 3, 1, 2)), torch.from_numpy(t), text).sample
    np.testing.assert_allclose(context, text.numpy(), atol=1e-4, rtol=0)
    trunk = family.model.trunk(family.frozen, x_t, jnp.asarray(t, jnp.float32), context)
    ours = family.model.predict(family.frozen, trunk)
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=1e-4, rtol=0)


def test_scheduler_is_the_one_it_was_trained_with():
    family = load_family(BASE, Setup())
    scheduler = DDIMScheduler.from_pretrained(BASE / "scheduler")
    alphas, _ = family.process.alpha_sigma_tables()
    np.testing.assert_allclose(alphas**2, scheduler.alphas_cumprod.numpy(), atol=1e-6)
    assert scheduler.config.prediction_type == family.process.prediction_type == "v_prediction"


def condition_strength(network, condition):
    """Spread over the picture of what the last layer of a ControlNet's encoder sees."""
    seen = []
    encoder = network.controlnet_cond_embedding
    handle = encoder.conv_out.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        encoder(condition)
    handle.remove()
    return float(seen[0].std(dim=(0, 2, 3)).square().mean().sqrt())


def test_an_encoder_as_deep_as_a_real_one_keeps_the_condition_and_is_that_of_diffusers(tmp_path):
    """Beside a base on pixels, whose conditions are as large as its latents: each pixel is repeated to 8 x 8."""
    deep = {"conditions": ("lineart",), "condition_channels": (16, 32, 96, 256)}
    setup = Setup(**deep, frozen_dtype="float32", compute_dtype="float32", condition_init="preserving")
    family = load_family(BASE, setup)
    params = jax.jit(family.model.init_side)(family.read_start(), jax.random.key(0))
    # As if it had been trained.
    filled = jax.tree.map(lambda leaf: leaf if np.any(leaf) else jnp.full(leaf.shape, 1e-3), params)
    family.write_side(tmp_path, "lineart", filled["lineart"])
    network = ControlNetModel.from_pretrained(tmp_path).eval()

    rng, t = np.random.default_rng(0), np.array([300.0], np.float32)
    x_t, context = rng.normal(size=(1, 32, 32, 3)).astype(np.float32), family.conditioner.contexts([{"caption": "a"}])
    picture = np.ones((1, 32, 32, 3), np.float32)
    picture[:, 10:13, 4:28] = 0
    large = torch.from_numpy(picture.repeat(8, axis=1).repeat(8, axis=2).transpose(0, 3, 1, 2))
    ours, _ = family.model.side(filled, None, x_t, t, context, {"lineart": picture})
    with torch.no_grad():
        given = (torch.from_numpy(x_t.transpose(0, 3, 1, 2)), torch.from_numpy(t), torch.from_numpy(context), large)
        down, mid = network(*given, return_dict=False)
    for our_residual, their_residual in zip(ours, (*down, mid), strict=True):
        np.testing.assert_allclose(our_residual, their_residual.numpy().transpose(0, 2, 3, 1), atol=1e-4, rtol=0)

    fresh = ControlNetModel.from_config(network.config)  # as PyTorch makes it
    assert condition_strength(fresh, large) < large.std() / 100
    assert condition_strength(network, large) > large.std() / 2
