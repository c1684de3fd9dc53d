"""Alignment decoders of a side network's features, as pure functions."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params
from lisa_jax.models.alignment_decoder import alignment_decoder

Shape = tuple[int, int, int]


def decoder_functions(
    shapes: Mapping[str, Shape], latent_shape: Shape, dtype: jnp.dtype, width: float
) -> tuple[Callable[..., jax.Array], Callable[[jax.Array, str], Params]]:
    """`decode` and `init_decoder` of a side network, see `SideNetwork`.

    Args:
      shapes: (h, w, c) of the features by name, for latents of `latent_shape`; only the ratio of their sizes matters to
        the decoders' parameters.
      latent_shape: (h, w, c).
      dtype: compute dtype.
      width: of the decoders, see `alignment_decoder`.
    """

    def decode(decoder: Params, feature: jax.Array, t: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        module = alignment_decoder(feature.shape[1:], shape[1:], dtype).with_channels_of(decoder)
        return module.apply({"params": decoder}, feature, t)

    def init_decoder(key: jax.Array, hook: str) -> Params:
        module = alignment_decoder(shapes[hook], latent_shape, dtype, width)
        return module.init(key, jnp.zeros((1, *shapes[hook])), jnp.zeros((1,)))["params"]

    return decode, init_decoder
