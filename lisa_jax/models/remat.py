"""Which activations are kept for the backward pass, and which are computed again in it."""

from typing import Any

import flax.linen as nn
import jax

# none: all are kept. attention: the scores of attention are computed again, where an implementation would store them.
# dots: of every resnet and transformer block the results of convolutions and matrix products are kept; norms,
# activations and attention are computed again. full: of every such block only the input is kept.
REMAT_POLICIES = ("none", "attention", "dots", "full")
# What a config says, or said when there was only on and off.
_NAMES = {"False": "none", "True": "full"}


def remat_policy(remat: bool | str) -> str:
    """The name of a policy; False is "none", True is "full".

    Raises:
      ValueError: a policy that does not exist.
    """
    name = _NAMES.get(str(remat).capitalize(), str(remat))
    if name not in REMAT_POLICIES:
        raise ValueError(f"remat '{remat}' does not exist: use {', '.join(REMAT_POLICIES)}.")
    return name


def rematerialised(module: type[nn.Module], remat: bool | str) -> type[nn.Module]:
    """A module of which the backward pass computes again what the policy says for whole blocks."""
    policy = remat_policy(remat)
    if policy == "full":
        return nn.remat(module)
    return nn.remat(module, policy=_products_saveable) if policy == "dots" else module


def _products_saveable(primitive: Any, *inputs: Any, **settings: Any) -> Any:
    """A `jax.checkpoint` policy: convolutions, and products without batch dimensions, which those of attention have."""
    if primitive is jax.lax.conv_general_dilated_p:
        return True
    return jax.checkpoint_policies.dots_with_no_batch_dims_saveable(primitive, *inputs, **settings)
