"""Weight of the alignment term by noise level.

The main term's weight (`Process.weight`) does not multiply it: LISA's alignment is a plain mean over noise levels
whatever the network's own loss is. The main weights answer to how the terms of that loss compete in one network, the
decoder is another; and s^-2 would leave it next to nothing but the levels of the least noise.

| name               | weight before it is scaled to mean 1 over the training noise levels                   |
|--------------------|---------------------------------------------------------------------------------------|
| `uniform`          | none: the paper's                                                                     |
| `likelihood_score` | min(f^2, 5), f the factor from gap to likelihood score (`Process.likelihood_score`)   |
| `high_noise`       | q, the quantile of the noise level (`Process.quantile`): 0 without noise, 1 at most   |
| `low_noise`        | 1 - q                                                                                 |

With `likelihood_score` the decoder's error is measured in units of the likelihood score grad log p(c | x_t), which
grows without bound where there is next to no noise; 5 is the bound of min-SNR weighting (arXiv 2303.09556). By process,
with data scaled by a and noise by s:

    diffusion, epsilon   min(1 / s^2, 5)                  q = t / num_train_timesteps
    diffusion, v         min(a^2 / s^2, 5)                the same
    rectified flow       min((1 - s)^2 / s^2, 5)          q = training CDF of s
    EDM, raw output F    min(1 / (s^2 (s^2 + 1)), 5)      q = training CDF of s
    any, in x0 space     min(a^2 / s^4, 5)                the process's own
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.processes import Process

UNIFORM = "uniform"
LIKELIHOOD_SCORE_BOUND = 5.0
# Noise levels drawn to find a weight's mean: to about a thousandth.
_DRAWS = 2**20


def _likelihood_score(process: Process, t: jax.Array) -> jax.Array:
    one = jnp.ones(t.shape, jnp.float32)
    return jnp.minimum(jnp.square(process.likelihood_score(one, one, t)), LIKELIHOOD_SCORE_BOUND)


_WEIGHTS: dict[str, Callable[[Process, jax.Array], jax.Array]] = {
    "likelihood_score": _likelihood_score,
    "high_noise": lambda process, t: process.quantile(t),
    "low_noise": lambda process, t: 1.0 - process.quantile(t),
}
WEIGHTINGS = (UNIFORM, *_WEIGHTS)


def check_weighting(weighting: str) -> str:
    """Return `weighting`, or raise ValueError with the names that exist."""
    if weighting not in WEIGHTINGS:
        raise ValueError(f"Unknown weighting '{weighting}' of the alignment loss: use one of {', '.join(WEIGHTINGS)}.")
    return weighting


def alignment_weight(weighting: str, process: Process, t: jax.Array) -> jax.Array:
    """Weight of the alignment error at noise levels `t` (n,), float32 (n,); with `uniform` ones.

    Raises:
      ValueError: an unknown weighting.
    """
    if check_weighting(weighting) == UNIFORM:
        return jnp.ones(t.shape, jnp.float32)
    return _WEIGHTS[weighting](process, t) / _mean(weighting, process)


@lru_cache(maxsize=32)
def _mean(weighting: str, process: Process) -> float:
    # A number of the program, also where this is called while one is traced.
    with jax.ensure_compile_time_eval():
        t = process.sample_t(jax.random.key(0), _DRAWS)
        return float(np.asarray(_WEIGHTS[weighting](process, t)).mean(dtype=np.float64))
