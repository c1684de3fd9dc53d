"""A family in plain JAX whose features are known mixtures, so that what a probe must find is known too."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from lisa_jax.dual_branch import DualBranch, SideOutput
from lisa_jax.families.family import Family
from lisa_jax.probing.pictures import Pictures, probe_pictures
from lisa_jax.processes import RectifiedFlow

SIZE = 8


def side(params, x_t, t, context, condition):
    """down_0: the condition at full size; mid: x_t at half size; params: a gain on the condition."""
    time = jnp.broadcast_to(t[:, None, None, None] / 1000, (*x_t.shape[:3], 1))
    seen = jnp.concatenate([params["gain"] * condition, x_t, time], axis=-1)
    half = x_t.reshape(len(x_t), SIZE // 2, 2, SIZE // 2, 2, -1).mean(axis=(2, 4))
    return SideOutput((params["gain"] * condition,), {"down_0": seen, "mid": half})


MODEL = DualBranch(
    trunk=lambda frozen, x_t, t, context: frozen["gain"] * x_t,
    predict=lambda frozen, trunk, residuals=None: trunk if residuals is None else trunk + residuals[0],
    side=side,
    init_side=None,
    decode=lambda decoder, feature, t, shape: decoder["gain"] * feature[..., :3],
    init_decoder=None,
    hooks=("down_0", "mid"),
)


def make_family(**given) -> Family:
    """Of what a family has, only what probes read."""
    given = {"model": MODEL, "frozen": {"gain": jnp.float32(0.5)}, "process": RectifiedFlow()} | given
    return Family(**dict.fromkeys(field.name for field in dataclasses.fields(Family)) | given)


def pictures(split: str, count: int, seed: int) -> Pictures:
    """Latents that know nothing of the condition."""
    generator = np.random.default_rng(seed)
    latents = generator.normal(size=(count, SIZE, SIZE, 3)).astype(np.float32)
    condition = generator.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return Pictures(split, np.arange(count, dtype=np.int32), latents, np.zeros((count, 1, 1), np.float32), condition)


def toy_pictures():
    """48 pictures to fit, 16 to validate and 16 to test."""
    return probe_pictures(pictures("train", 64, 0), pictures("test", 16, 1))
