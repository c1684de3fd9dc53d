"""A family in a few lines of plain JAX, which compiles in no time."""

import dataclasses
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import DualBranch, SideOutput
from lisa_jax.families.family import Family
from lisa_jax.families.pixels import PIXELS
from lisa_jax.processes import Diffusion

SIZE = 8
SCHEDULER = {"clip_sample": False}


def trunk(frozen, x_t, t, context):
    word = context.mean(axis=1)[:, None, None, :]
    return frozen["gain"] * x_t + jnp.tanh(word) + 0.1 * jnp.sin(t / 100)[:, None, None, None]


def predict(frozen, trunk, residuals=None):
    hidden = trunk if residuals is None else trunk + residuals[0]
    # A neighbour's value, so that mixing up rows would show.
    return jnp.tanh(hidden + 0.3 * jnp.roll(hidden, 1, axis=2))


def side(params, x_t, t, context, condition):
    drawn = params["gain"] * (condition - 0.5) + 0.1 * x_t
    return SideOutput((drawn,), {"down_0": drawn})


def encode_text(captions):
    """Random words, float32 (n, 2, 3), the same for the same caption."""
    seeds = [zlib.crc32(caption.encode()) for caption in captions]
    return np.stack([np.random.default_rng(seed).standard_normal((2, 3)) for seed in seeds]).astype(np.float32)


def make_family() -> Family:
    """Of what a family has, only what sampling reads."""
    given = {
        "model": DualBranch(trunk, predict, side, None, None, None, ("down_0",)),
        "frozen": {"gain": jnp.float32(0.7)},
        "process": Diffusion(prediction_type="v_prediction"),
        "latents": PIXELS,
        "encode_text": encode_text,
        "scheduler": SCHEDULER,
    }
    return Family(**dict.fromkeys(field.name for field in dataclasses.fields(Family)) | given)


def examples(family: Family, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Contexts, conditions and indices."""
    condition = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return family.encode_text([f"caption {i}" for i in range(count)]), condition, np.arange(10, 10 + count)


def sampled_on_all_devices() -> np.ndarray:
    """Images of six examples, more than a batch, and no multiple of the devices."""
    from lisa_jax.sampling.generate import make_generator

    family = make_family()
    generate = make_generator(family, num_steps=3, guidance_scale=2.0, batch_size=4)
    return generate(family.frozen, {}, {"gain": jax.numpy.float32(1.0)}, *examples(family, 6))
