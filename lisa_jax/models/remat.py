"""Which activations are kept for the backward pass, and which are computed again in it."""

from typing import Any

import flax.linen as nn
import jax

# none: all are kept. attention: the scores of attention are computed again, where an implementation would store them.
# dots: of every resnet and transformer block the results of convolutions and matrix products are kept; norms,
# activations and attention are computed again. full: of every such block only the input is kept.
REMAT_POLICIES = ("none", "attention", "dots", "full")


def check_remat(remat: str) -> str:
    """Return `remat`, or raise ValueError with the names that exist."""
    if remat not in REMAT_POLICIES:
        raise ValueError(f"remat '{remat}' does not exist: use {', '.join(REMAT_POLICIES)}.")
    return remat


def rematerialised(module: type[nn.Module], remat: str) -> type[nn.Module]:
    """A module of which the backward pass computes again what the policy says for whole blocks.

    Raises:
      ValueError: a policy that does not exist.
    """
    if check_remat(remat) == "full":
        return nn.remat(module)
    return nn.remat(module, policy=_products_saveable) if remat == "dots" else module


def _products_saveable(primitive: Any, *inputs: Any, **settings: Any) -> Any:
    """A `jax.checkpoint` policy: convolutions, and products without batch dimensions, which those of attention have."""
    if primitive is jax.lax.conv_general_dilated_p:
        return True
    return jax.checkpoint_policies.dots_with_no_batch_dims_saveable(primitive, *inputs, **settings)
