"""What a sampler calls."""

from collections.abc import Callable

import jax

# (x_t (n, ...), t (n,), index) -> prediction of x_t's shape: the process's own noisy sample and time, and the step's
# place in the sampling loop, int32, which may be traced.
Predict = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
