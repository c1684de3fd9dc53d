"""The alignment decoder against the same network in PyTorch, and its size at Stable Diffusion 2.1."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch_alignment import Decoder, decoder_of

from lisa_jax.models.alignment_decoder import alignment_decoder


def initialise(feature_shape, latent_shape):
    decoder = alignment_decoder(feature_shape, latent_shape)
    return decoder, decoder.init(jax.random.key(0), jnp.zeros((1, *feature_shape)), jnp.zeros(1))["params"]


@torch.no_grad()
@pytest.mark.parametrize(
    ("feature", "latents"),
    [
        ((3, 5, 512), (12, 20, 4)),
        ((4, 4, 32), (8, 8, 3)),
        ((6, 4, 512), (6, 4, 4)),
        ((6, 4, 32), (6, 4, 3)),
        ((2, 2, 160), (16, 16, 4)),
    ],
)
def test_output_equals_pytorch(feature, latents, to_jax, run, max_difference):
    reference = Decoder(feature[2], int(math.log2(latents[0] / feature[0])), latents[2])
    decoder = alignment_decoder(feature, latents)
    shapes = jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros((1, *feature)), jnp.zeros(1))["params"]
    _, params = decoder_of(reference, shapes)
    x, t = torch.randn(2, feature[2], *feature[:2]), torch.tensor([0.5, 981.0])
    ours = run(lambda p, *a: decoder.apply({"params": p}, *a), params, to_jax(x), to_jax(t))
    assert ours.shape[1:] == latents
    difference = max_difference((reference(x, t),), (ours,))
    print(f"{feature} -> {latents}: max abs difference {difference:.1e}")
    assert difference <= 1e-5


@pytest.mark.parametrize(
    ("feature", "count"),
    [
        ((32, 32, 640), 381_124),  # down_5
        ((8, 8, 1280), 3_459_044),  # mid
    ],
)
def test_parameter_count_of_stable_diffusion_21(feature, count):
    decoder = alignment_decoder(feature, (64, 64, 4))
    shapes = jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros((1, *feature)), jnp.zeros(1))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


@pytest.mark.parametrize(
    ("feature", "channels"),
    [((8, 8, 32), (32,)), ((8, 8, 64), (64,)), ((8, 8, 96), (64,)), ((8, 8, 320), (160,)), ((4, 4, 32), (64,))],
)
def test_a_narrow_feature_of_the_latents_size_is_not_widened(feature, channels):
    assert alignment_decoder(feature, (8, 8, 4)).channels == channels


def test_a_decoder_of_an_earlier_version_goes_on_as_wide_as_it_was_born():
    today = alignment_decoder((4, 4, 32), (4, 4, 3))
    feature, t = jax.random.normal(jax.random.key(1), (2, 4, 4, 32)), jnp.array([1.0, 900.0])
    widened = today.clone(channels=(64,)).init(jax.random.key(0), feature, t)["params"]
    assert today.with_channels_of(widened).apply({"params": widened}, feature, t).shape == (2, 4, 4, 3)


def test_width_multiplies_the_hidden_channels():
    def shapes(width):
        decoder = alignment_decoder((4, 4, 160), (16, 16, 4), width=width)
        return jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros((1, 4, 4, 160)), jnp.zeros(1))["params"]

    assert shapes(1.0)["conv_0"]["kernel"].shape == (3, 3, 160, 80)
    wide = shapes(1.5)
    assert wide["time_proj"]["kernel"].shape == (256, 160)  # it is added to the feature
    assert wide["conv_0"]["kernel"].shape == (3, 3, 160, 120)
    assert wide["conv_1"]["kernel"].shape == (3, 3, 120, 96)
    assert wide["conv_out"]["kernel"].shape == (3, 3, 96, 4)
    with pytest.raises(ValueError, match="decoder_width is 0"):
        shapes(0)


def test_fresh_decoder_predicts_zero_and_is_born_as_in_pytorch():
    decoder, params = initialise((4, 4, 64), (8, 8, 4))
    feature = jax.random.normal(jax.random.key(1), (2, 4, 4, 64))
    assert not np.any(decoder.apply({"params": params}, feature, jnp.array([1.0, 900.0])))
    for name, fan_in in (("time_proj", 256), ("conv_0", 9 * 64)):
        for leaf in params[name].values():
            assert 0.9 / math.sqrt(fan_in) < float(jnp.abs(leaf).max()) <= 1 / math.sqrt(fan_in)


def test_first_gradient_reaches_the_last_convolution_only():
    decoder, params = initialise((4, 4, 64), (8, 8, 4))
    feature = jax.random.normal(jax.random.key(1), (2, 4, 4, 64))

    def loss(params, feature):
        return jnp.mean((decoder.apply({"params": params}, feature, jnp.array([1.0, 900.0])) - 1) ** 2)

    gradient, to_feature = jax.grad(loss, argnums=(0, 1))(params, feature)
    assert not np.any(to_feature)
    for name, leaves in gradient.items():
        assert all(bool(np.any(leaf)) == (name == "conv_out") for leaf in leaves.values()), name


@pytest.mark.parametrize(
    ("feature", "latents", "stages"),
    [((5, 7, 8), (9, 13, 4), 1), ((2, 2, 8), (9, 13, 4), 3), ((1, 1, 8), (1, 3, 4), 2), ((9, 13, 8), (9, 13, 4), 0)],
)
def test_odd_latents_are_met_exactly(feature, latents, stages):
    decoder, params = initialise(feature, latents)
    assert len(decoder.channels) == max(stages, 1)
    assert decoder.apply({"params": params}, jnp.ones((2, *feature)), jnp.ones(2)).shape == (2, *latents)


def test_a_feature_larger_than_the_latents_is_refused():
    with pytest.raises(ValueError, match="larger than the latents"):
        alignment_decoder((16, 16, 8), (8, 8, 4))
