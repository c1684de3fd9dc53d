"""Norms, gated GELU and convolutions, whose derivatives are written by hand, against PyTorch: results and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from lisa_jax.models.attention import gated_gelu
from lisa_jax.models.layers import Conv
from lisa_jax.models.norms import GroupNorm, LayerNorm


@pytest.fixture(params=["cpu", "gpu"], autouse=True)
def target(request, monkeypatch):
    """What a program for GPUs sums, and in which order, on this CPU."""
    for module in ("norms", "layers"):
        monkeypatch.setattr(f"lisa_jax.models.{module}.platform", lambda: request.param)


def random(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(1.0, 2.0, shape).astype(np.float32) for shape in shapes]


def applied(module, *names):
    """The module as a function of x and of its parameters of these names."""
    return lambda x, *leaves: module.apply({"params": dict(zip(names, leaves, strict=True))}, x)


def assert_equal_with_gradients(ours, theirs, inputs, weight):
    """Both functions of arrays, and the gradients of the sum of their results weighted by `weight`, within 1e-5."""
    result, backward = jax.vjp(ours, *map(jnp.asarray, inputs))
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    expected = theirs(*tensors)
    expected.backward(torch.tensor(weight))
    pairs = [(result, expected.detach()), *zip(backward(jnp.asarray(weight)), (t.grad for t in tensors), strict=True)]
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-5 * float(wanted.abs().max()))


# 35 and 64 pixels are summed in runs, 13 are not.
@pytest.mark.parametrize("size", [(7, 5), (8, 8), (1, 13)])
@pytest.mark.parametrize("silu", [False, True])
def test_group_norm_with_and_without_silu(size, silu):
    x, scale, bias, weight = random((3, *size, 12), (12,), (12,), (3, *size, 12))

    def theirs(x, scale, bias):
        y = torch.nn.functional.group_norm(x.movedim(-1, 1), 4, scale, bias, 1e-6).movedim(1, -1)
        return torch.nn.functional.silu(y) if silu else y

    ours = applied(GroupNorm(4, 1e-6, silu=silu), "scale", "bias")
    assert_equal_with_gradients(ours, theirs, (x, scale, bias), weight)


@pytest.mark.parametrize("shape", [(3, 35, 24), (2, 13, 24), (5, 24)])
def test_layer_norm(shape):
    x, scale, bias, weight = random(shape, (24,), (24,), shape)

    def theirs(x, scale, bias):
        return torch.nn.functional.layer_norm(x, (24,), scale, bias)

    assert_equal_with_gradients(applied(LayerNorm(), "scale", "bias"), theirs, (x, scale, bias), weight)


@pytest.mark.parametrize("norm", [LayerNorm(), GroupNorm(4, 1e-5, silu=True)], ids=["layer", "group"])
def test_norms_of_half_precision_sum_what_parameters_get_in_float32(norm):
    x, scale, bias, weight = random((2, 64, 32), (32,), (32,), (2, 64, 32))
    rounded = [jnp.asarray(array, jnp.bfloat16) for array in (x, weight)]
    params = {"params": {"scale": jnp.asarray(scale), "bias": jnp.asarray(bias)}}

    def gradients(dtype):
        x, weight = (array.astype(dtype) for array in rounded)
        return jax.vjp(lambda params: norm.clone(dtype=dtype).apply(params, x), params)[1](weight)[0]["params"]

    half, full = gradients(jnp.bfloat16), gradients(jnp.float32)
    for name in ("scale", "bias"):
        assert half[name].dtype == jnp.float32
        np.testing.assert_allclose(half[name], full[name], rtol=1e-4, atol=1e-3)


def test_gated_gelu():
    hidden, gate, weight = random(*3 * [(4, 33, 16)])

    def theirs(hidden, gate):
        return hidden * torch.nn.functional.gelu(gate)

    assert_equal_with_gradients(gated_gelu, theirs, (hidden, gate), weight)


def test_convolution():
    x, kernel, bias, weight = random((2, 7, 5, 4), (3, 3, 4, 6), (6,), (2, 4, 3, 6))
    ours = applied(Conv(6, stride=2), "kernel", "bias")

    def theirs(x, kernel, bias):
        y = torch.nn.functional.conv2d(x.movedim(-1, 1), kernel.permute(3, 2, 0, 1), bias, stride=2, padding=1)
        return y.movedim(1, -1)

    assert_equal_with_gradients(ours, theirs, (x, kernel, bias), weight)
