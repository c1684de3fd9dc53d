"""What the two terms of a loss ask of the side network's trunk: sizes of their gradients and the angle between them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lisa_jax.dual_branch import Params


class GradientShares(NamedTuple):
    """Gradients of two terms of a loss on the side network's trunk; scalar float32 each.

    Attributes:
      main: norm of the main term's.
      align: norm of the alignment term's, weighted as it was given.
      ratio: align / main; 0 where the main term has none.
      cosine: of the angle between them; 0 where one of them is zero.
    """

    main: jax.Array
    align: jax.Array
    ratio: jax.Array
    cosine: jax.Array


def gradient_shares(
    terms: Callable[[Params], tuple[jax.Array, jax.Array]], side: Params, side_trunk: Callable[[Params], Params]
) -> GradientShares:
    """Compare the gradients of two terms, which share their forward pass.

    Args:
      terms: side parameters -> main term and alignment term, scalars.
      side: where to compare.
      side_trunk: leaves zero convolutions out of a tree like `side`, see `DualBranch`: at the start they alone get
        gradient of the main term, and later they would outweigh the rest.
    """
    (main_term, align_term), pull = jax.vjp(terms, side)
    # Backwards from one term alone, then from the other.
    (of_main,) = pull((jnp.ones_like(main_term), jnp.zeros_like(align_term)))
    (of_align,) = pull((jnp.zeros_like(main_term), jnp.ones_like(align_term)))
    main, align = side_trunk(of_main), side_trunk(of_align)
    product = optax.tree.vdot(main, align)
    main_norm, align_norm = optax.tree.norm(main), optax.tree.norm(align)

    def over(value: jax.Array, by: jax.Array) -> jax.Array:
        return jnp.where(by > 0, value / jnp.where(by > 0, by, 1), 0)

    return GradientShares(main_norm, align_norm, over(align_norm, main_norm), over(product, main_norm * align_norm))
