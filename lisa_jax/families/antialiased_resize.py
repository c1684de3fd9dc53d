"""Antialiased resizing to a square, as image encoders of diffusers' video pipelines are fed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Of the cubic convolution, as PyTorch has it.
_CUBIC = -0.75


def antialiased_resize(pictures: jax.Array, side: int) -> jax.Array:
    """`_resize_with_antialiasing` of diffusers' `StableVideoDiffusionPipeline`: a Gaussian blur, then bicubic.

    Corners keep their places. Both are linear and act on rows and columns apart, so each axis is one matrix.

    Args:
      pictures: float (n, H, W, c), H and W 2 or more.
      side: of the result.

    Returns:
      float32 (n, side, side, c); it may leave the range of the pictures.
    """
    rows, columns = (jnp.asarray(_resizing(length, side)) for length in pictures.shape[1:3])
    return jnp.einsum("nhwc,Hh,Ww->nHWc", pictures.astype(jnp.float32), rows, columns, precision="highest")


@functools.cache
def _resizing(length: int, side: int) -> np.ndarray:
    """The matrix (side, length) of one axis, float32."""
    return (_bicubic(length, side) @ _blur(length, side)).astype(np.float32)


def _blur(length: int, side: int) -> np.ndarray:
    """Gaussian blur for the factor of a reduction, mirrored at the borders, (length, length)."""
    sigma = max((length / side - 1.0) / 2.0, 0.001)
    taps = int(max(4.0 * sigma, 3)) | 1
    weights = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * sigma**2))
    matrix, places = np.zeros((length, length)), np.pad(np.arange(length), taps // 2, mode="reflect")
    for tap, weight in enumerate(weights / weights.sum()):
        np.add.at(matrix, (np.arange(length), places[tap : tap + length]), weight)
    return matrix


def _bicubic(length: int, side: int) -> np.ndarray:
    """Cubic convolution at `side` places from the first to the last, the border repeated, (side, length)."""
    places = np.linspace(0, length - 1, side)
    first, matrix = np.floor(places).astype(int), np.zeros((side, length))
    for offset in (-1, 0, 1, 2):
        weight = _cubic(np.abs(places - first - offset))
        np.add.at(matrix, (np.arange(side), np.clip(first + offset, 0, length - 1)), weight)
    return matrix


def _cubic(distance: np.ndarray) -> np.ndarray:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = ((_CUBIC * distance - 5 * _CUBIC) * distance + 8 * _CUBIC) * distance - 4 * _CUBIC
    return np.where(distance <= 1, near, far)
