"""The dtypes of what is stored; without the packages that read and write it."""

import jax.numpy as jnp
import numpy as np


def stored_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype in which something encoded is cached: bfloat16 for floating point numbers, others as they are."""
    return jnp.dtype(jnp.bfloat16) if jnp.issubdtype(dtype, jnp.floating) else np.dtype(dtype)
