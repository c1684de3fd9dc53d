"""Low-rank side networks: a copy of the main network that trains two factors in place of each of its kernels.

The kernels themselves are the main network's, read where they lie and never copied: a Control-LoRA.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.dual_branch import COPIED, Params, SideNetwork
from lisa_jax.families.side_networks import start_params
from lisa_jax.models.layers import pytorch_uniform
from lisa_jax.models.low_rank import factor_shapes, merged_kernel

FACTORS = {"low_rank": r".*/(down|up)$"}


def low_rank(side: SideNetwork, rank: int) -> SideNetwork:
    """The side network with factors of a rank in place of the kernels that it takes over from the main network.

    All else trains as before: norms and biases, which start as the main network's, and the fresh layers. "up" is born
    zero, so that features start as those of the copy do, and "down" as PyTorch's linear map.
    """

    def init(start: Params, key: jax.Array) -> Params:
        network_key, factors_key = jax.random.split(key)
        fresh = side.init({}, network_key)
        return start_params(_factored(fresh, side.layer_groups(fresh), rank, factors_key), start)

    return dataclasses.replace(side, init=init, fresh={**side.fresh, **FACTORS}, complete=with_kernels)


def with_kernels(params: Params, main: Params) -> Params:
    """The parameters, and beside each pair of factors the main network's kernel."""
    return _beside_factors(params, main, lambda layer, kernel: layer | {"kernel": kernel})


def has_factors(params: Params) -> bool:
    """Whether there are factors in place of kernels."""
    return isinstance(params, Mapping) and ("up" in params or any(map(has_factors, params.values())))


def merged(params: Params, main: Params) -> Params:
    """The parameters of a whole side network: float32 kernels, to which factors are added, in place of these."""

    def whole(layer: Params, kernel: jax.Array) -> Params:
        rest = {name: leaf for name, leaf in layer.items() if name not in ("down", "up")}
        return rest | {"kernel": merged_kernel(kernel, layer["down"], layer["up"])}

    return _beside_factors(params, main, whole)


def _beside_factors(params: Params, main: Params, change: Callable[[Params, jax.Array], Params]) -> Params:
    """The parameters with every layer that has factors changed, given the main network's kernel."""
    if "up" in params:
        return change(params, main["kernel"])
    return {
        name: _beside_factors(part, main[name], change) if isinstance(part, Mapping) and name in main else part
        for name, part in params.items()
    }


def _factored(fresh: Params, groups: Params, rank: int, key: jax.Array) -> Params:
    """A fresh tree with factors in place of copied kernels."""
    leaves = {tuple(step.key for step in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(fresh)}
    copied = [
        path
        for (path, _), group in zip(leaves.items(), jax.tree.leaves(groups), strict=True)
        if group == COPIED and path[-1] == "kernel"
    ]
    by_shape: dict[tuple[int, ...], list[tuple[str, ...]]] = {}
    for path in copied:
        down, up = factor_shapes(leaves.pop(path).shape, rank)
        by_shape.setdefault(down, []).append(path)
        leaves[(*path[:-1], "up")] = jnp.zeros(up)
    # All of a shape at once: hundreds of draws would take minutes to compile.
    for one, (shape, paths) in zip(jax.random.split(key, len(by_shape)), by_shape.items(), strict=True):
        drawn = pytorch_uniform(math.prod(shape[:-1]))(one, (len(paths), *shape))
        leaves |= {(*path[:-1], "down"): drawn[index] for index, path in enumerate(paths)}
    return tree_of(leaves)
