"""The flow base that ships with the package: an ordinary diffusers folder, and the same networks in both worlds."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3ControlNetModel, SD3Transformer2DModel
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

import lisa_jax
from lisa_jax.families.family import Setup
from lisa_jax.families.registry import load_family

BASE = Path(lisa_jax.__file__).parent / "assets" / "openmoji_flow_base"
CAPTIONS = ["red heart", "grinning face with smiling eyes", ""]
FLOAT32 = {"frozen_dtype": "float32", "compute_dtype": "float32"}


@pytest.fixture(scope="module")
def family():
    return load_family(BASE, Setup(("lineart",), **FLOAT32))


@pytest.fixture(scope="module")
def context():
    """Text tokens and pooled text of CAPTIONS as transformers computes them, torch tensors."""
    tokens, pooled = [], []
    for ending in ("", "_2"):
        tokenizer = CLIPTokenizer.from_pretrained(BASE / f"tokenizer{ending}")
        encoder = CLIPTextModelWithProjection.from_pretrained(BASE / f"text_encoder{ending}").eval()
        ids = tokenizer(CAPTIONS, padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            output = encoder(ids, output_hidden_states=True)
        tokens.append(output.hidden_states[-2])
        pooled.append(output.text_embeds)
    return {"clip": torch.cat(tokens, -1), "pooled": torch.cat(pooled, -1)}


@pytest.fixture(scope="module")
def inputs():
    """x_t, network time and a picture in [-1, 1]."""
    rng = np.random.default_rng(0)
    x_t, picture = rng.normal(size=(2, 3, 32, 32, 3)).astype(np.float32)
    return x_t, np.array([1.0, 500.0, 1000.0], np.float32), np.clip(picture, -1, 1)


def channels_first(x):
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def test_folder_is_small_and_attributed():
    assert sum(path.stat().st_size for path in BASE.rglob("*") if path.is_file()) < 12e6
    assert "CC BY-SA 4.0" in (BASE / "NOTICE").read_text()


def test_context_is_that_of_transformers_without_tokens_for_absent_t5(family, context):
    ours = family.conditioner.contexts([{"caption": caption} for caption in CAPTIONS])
    assert ours.keys() == context.keys()
    for name, theirs in context.items():
        np.testing.assert_allclose(ours[name], theirs.numpy(), atol=1e-4, rtol=0)


def test_prediction_equals_diffusers(family, context, inputs):
    x_t, t, _ = inputs
    transformer = SD3Transformer2DModel.from_pretrained(BASE / "transformer", torch_dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = transformer(channels_first(x_t), context["clip"], context["pooled"], torch.from_numpy(t)).sample
    ours_context = {name: part.numpy() for name, part in context.items()}
    trunk = family.model.trunk(family.frozen, x_t, jnp.asarray(t), ours_context)
    ours = family.model.predict(family.frozen, trunk)
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=1e-4, rtol=0)


def test_side_network_of_diffusers_reads_the_same_condition(family, context, inputs, tmp_path):
    x_t, t, picture = inputs
    params = jax.jit(family.model.init_side)(family.read_start(), jax.random.key(0))
    # As if it had been trained.
    params = jax.tree.map(lambda leaf: leaf if np.any(leaf) else jnp.full(leaf.shape, 1e-2), params)
    family.write_side(tmp_path, "lineart", params["lineart"])
    network = SD3ControlNetModel.from_pretrained(tmp_path).eval()
    given = {"encoder_hidden_states": context["clip"], "pooled_projections": context["pooled"]}
    with torch.no_grad():
        theirs = network(channels_first(x_t), channels_first(picture), timestep=torch.from_numpy(t), **given)[0]

    ours_context = {name: part.numpy() for name, part in context.items()}
    pixels = np.round((picture + 1) * 127.5).astype(np.uint8)
    seen = family.condition({}, pixels, jax.random.key(0))
    np.testing.assert_allclose(seen, picture, atol=1 / 255)
    trunk = family.model.trunk(family.frozen, x_t, jnp.asarray(t), ours_context)
    ours, _ = family.model.side(params, trunk, x_t, jnp.asarray(t), ours_context, {"lineart": picture})
    # A residual of ours for each block of the transformer, of theirs for each of the side network.
    assert len(ours) == 5 and len(theirs) == 3
    for our_residual, their_residual in zip(ours, (theirs[i // 2] for i in range(5)), strict=True):
        flat = np.asarray(our_residual).reshape(their_residual.shape)
        np.testing.assert_allclose(flat, their_residual.numpy(), atol=1e-4, rtol=0)


def test_scheduler_is_the_one_it_was_trained_with(family):
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(BASE / "scheduler")
    np.testing.assert_allclose(family.process.sigma_table(), scheduler.sigmas.numpy(), atol=1e-6)
    assert family.process.shift == scheduler.config.shift == 1
