"""Starting noise that belongs to an example, not to the batch it happens to be sampled in."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def initial_noise(seed: int, indices: Sequence[int] | jax.Array, shape: Sequence[int]) -> jax.Array:
    """Standard normal noise, float32 (len(indices), *shape), whose row i depends on (seed, indices[i]) alone.

    Batch size, order and device count therefore do not change a sample: compare two runs image by image.
    """
    # Named generator: others (rbg) draw differently under vmap than one by one.
    key = jax.random.key(seed, impl="threefry2x32")

    def one(index: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, index), tuple(shape), jnp.float32)

    return jax.vmap(one)(jnp.asarray(indices, jnp.uint32))
