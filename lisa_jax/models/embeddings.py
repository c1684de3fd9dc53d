"""Time embeddings, always computed in float32: bfloat16 cannot tell step 997 from 999."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.models.layers import Linear

MAX_PERIOD = 10_000


def sinusoidal_embedding(
    t: jax.Array, features: int, flip_sin_to_cos: bool = True, freq_shift: float = 0.0
) -> jax.Array:
    """Sinusoids of a time (diffusers' `get_timestep_embedding`; Ho et al. 2020).

    Args:
      t: (n,) network time, any real numbers.
      features: width of the embedding; an odd one is padded with a zero.
      flip_sin_to_cos: cosines first, then sines; False has the sines first.
      freq_shift: frequencies are exp(-ln(10000) k / (half - freq_shift)).

    Returns:
      (n, features) float32.
    """
    half = features // 2
    frequencies = np.exp(-math.log(MAX_PERIOD) * np.arange(half, dtype=np.float32) / np.float32(half - freq_shift))
    angles = t.astype(jnp.float32)[:, None] * frequencies.astype(np.float32)
    parts = [jnp.cos(angles), jnp.sin(angles)] if flip_sin_to_cos else [jnp.sin(angles), jnp.cos(angles)]
    return jnp.pad(jnp.concatenate(parts, axis=-1), ((0, 0), (0, features % 2)))


class TimestepEmbedding(nn.Module):
    """Linear, SiLU, linear on the sinusoids, in float32 (diffusers' `TimestepEmbedding`).

    `features` are those in between and, unless `out_features` says otherwise, of the result.
    """

    features: int
    out_features: int | None = None

    @nn.compact
    def __call__(self, sinusoids: jax.Array) -> jax.Array:
        hidden = nn.silu(Linear(self.features, name="linear_1")(sinusoids))
        return Linear(self.out_features or self.features, name="linear_2")(hidden)
