"""Layers of single pictures, applied to all pictures of an array."""

from collections.abc import Callable

import jax


def by_picture(layer: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """What a layer gives for each picture of (n, h, w, c), or for each frame of videos (n, f, h, w, c).

    Args:
      layer: (n, h, w, c) -> (n, h', w', c').
      x: (*n, h, w, c).

    Returns:
      (*n, h', w', c').
    """
    y = layer(x.reshape(-1, *x.shape[-3:]))
    return y.reshape(*x.shape[:-3], *y.shape[-3:])
