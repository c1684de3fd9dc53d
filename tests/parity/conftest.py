"""Tests against PyTorch and diffusers; skipped where they are not installed. Tools come as fixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

try:
    import diffusers  # noqa: F401
    import torch
except ImportError:
    collect_ignore_glob = ["test_*.py"]
else:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same random numbers, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def to_jax():
    """torch tensor -> jax array, NCHW -> NHWC."""

    def convert(tensor):
        array = tensor.detach().float().numpy()
        return jnp.asarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array)

    return convert


@pytest.fixture
def max_difference(to_jax):
    """Largest absolute difference of pairs of a torch tensor and a jax array, which must agree in shape."""

    def difference(tensors, arrays):
        pairs = list(zip(tensors, arrays, strict=True))
        assert all(to_jax(tensor).shape == array.shape for tensor, array in pairs)
        return max(
            float(np.abs(np.asarray(to_jax(tensor)) - np.asarray(array, np.float32)).max()) for tensor, array in pairs
        )

    return difference


@pytest.fixture
def run():
    """Call a function compiled."""
    return lambda function, *args: jax.jit(function)(*args)


@pytest.fixture
def randomise():
    """Fill parameters with random numbers: zero convolutions would hide what goes into them, norms of 1 and 0 also."""

    def fill(parameters, std=0.3):
        for parameter in parameters:
            torch.nn.init.normal_(parameter, std=std)

    return fill
