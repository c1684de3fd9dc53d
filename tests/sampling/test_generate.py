"""Samples of a family: what an image depends on, and what it does not."""

import jax
import numpy as np
import pytest

from lisa_jax.families.stable_diffusion import load_stable_diffusion
from lisa_jax.sampling.generate import make_generator


@pytest.fixture(scope="module")
def family(tiny_base):
    return load_stable_diffusion(tiny_base, condition_channels=(8,), frozen_dtype="float32", compute_dtype="float32")


@pytest.fixture(scope="module")
def side(family):
    fresh = family.model.init_trainable(family.frozen, jax.random.key(0), hook=None)["side"]
    # Open the zero convolutions.
    return jax.tree.map(lambda leaf: leaf + 0.05 * jax.random.normal(jax.random.key(1), leaf.shape), fresh)


@pytest.fixture(scope="module")
def inputs(family):
    condition = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    return family.encode_text(["cat", "dog", "red heart", "sun", ""]), condition, np.arange(10, 15)


def generator(family, **settings):
    return make_generator(family, **({"num_steps": 3, "guidance_scale": 2.0} | settings))


def test_image_depends_on_its_own_index_seed_and_inputs_alone(family, side, inputs):
    together = generator(family, batch_size=5)(family.frozen, side, *inputs, seed=3)
    in_pairs = generator(family, batch_size=2)(family.frozen, side, *inputs, seed=3)
    # One grey level: batches of another size are other programs, whose last bits may differ.
    assert np.abs(together.astype(int) - in_pairs.astype(int)).max() <= 1
    other_seed = generator(family, batch_size=5)(family.frozen, side, *inputs, seed=4)
    assert np.abs(together.astype(int) - other_seed.astype(int)).mean() > 5


def test_control_scale_zero_is_no_control(family, side, inputs):
    none = generator(family)(family.frozen, None, *inputs)
    zero = generator(family, control_scale=0.0)(family.frozen, side, *inputs)
    full = generator(family)(family.frozen, side, *inputs)
    assert np.abs(none.astype(int) - zero.astype(int)).max() <= 1
    assert np.abs(none.astype(int) - full.astype(int)).mean() > 1


def test_caption_matters_more_with_guidance(family, inputs):
    context, condition, indices = inputs
    empty = np.repeat(context[-1:], len(context), 0)

    def distance(scale):
        generate = generator(family, guidance_scale=scale)
        captioned = generate(family.frozen, None, context, condition, indices).astype(int)
        return np.abs(captioned - generate(family.frozen, None, empty, condition, indices)).mean()

    assert distance(6.0) > distance(1.0) > 0
