"""Starting noise and keys that belong to an example, not to the batch it happens to be sampled in."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

GENERATOR = "threefry2x32"


def initial_noise(seed: int, indices: Sequence[int] | jax.Array, shape: Sequence[int]) -> jax.Array:
    """Standard normal noise, float32 (len(indices), *shape), whose row i depends on (seed, indices[i]) alone.

    Batch size, order and device count therefore do not change a sample: compare two runs image by image.
    """
    key = _key(seed)

    def one(index: jax.Array) -> jax.Array:
        return jax.random.normal(jax.random.fold_in(key, index), tuple(shape), jnp.float32)

    return jax.vmap(one)(jnp.asarray(indices, jnp.uint32))


def row_keys(seed: int, indices: Sequence[int] | jax.Array) -> jax.Array:
    """A key for each example that depends on (seed, indices[i]) alone, (len(indices),); not those of its noise."""
    # No example has this index.
    key = jax.random.fold_in(_key(seed), 2**32 - 1)
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.asarray(indices, jnp.uint32))


def _key(seed: int) -> jax.Array:
    # Named generator: others (rbg) draw differently under vmap than one by one.
    return jax.random.key(seed, impl=GENERATOR)
