"""Several side networks beside one main network, trained or sampled together (the paper's compositional conditions)."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import DualBranch, Params, SideOutput


def compose(models: Mapping[str, DualBranch]) -> DualBranch:
    """One dual-branch model of several that share their main network.

    Side parameters, decoder parameters, conditions and each feature are dicts with the names given. The main network
    gets the sum of the residuals. The decoders' outputs are summed too, for if the conditions are independent given
    x_t, p(c_1, c_2 | x_t) = p(c_1 | x_t) p(c_2 | x_t) and the likelihood scores add:

        grad log p(c_1, c_2 | x_t) = grad log p(c_1 | x_t) + grad log p(c_2 | x_t)

    so the loss asks the decoders together for what the main network does not explain, and each sees its own feature.
    Where the conditions are dependent, the sum is still fitted to the joint score; the parts then share it out.

    Args:
      models: name -> model. They must be of one main network; their side networks may differ. The result does not
        depend on the order of the names.

    Returns:
      A model whose hooks are those that all side networks have. Its functions raise ValueError where a dict has other
      names.
    Raises:
      ValueError: no model, or no hook that all have.
    """
    if not models:
        raise ValueError("A composition needs at least one side network.")
    models = {name: models[name] for name in sorted(models)}
    first = next(iter(models.values()))
    hooks = tuple(hook for hook in first.hooks if all(hook in model.hooks for model in models.values()))
    if not hooks:
        raise ValueError(f"The side networks {', '.join(models)} have no feature of the same name to hook.")

    def of_each(what: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(values, Mapping) or set(values) != set(models):
            found = ", ".join(sorted(values)) if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"{what} must have the names of the side networks, {', '.join(models)}, not {found}.")
        return values

    def for_each(init: Callable[[str, jax.Array], Params], key: jax.Array) -> dict[str, Params]:
        return {name: init(name, part) for name, part in zip(models, jax.random.split(key, len(models)), strict=True)}

    def side(
        side: Mapping[str, Params],
        x_t: jax.Array,
        t: jax.Array,
        context: jax.Array,
        condition: Mapping[str, jax.Array],
    ) -> SideOutput:
        side, condition = of_each("Side parameters", side), of_each("Conditions", condition)
        outputs = {name: model.side(side[name], x_t, t, context, condition[name]) for name, model in models.items()}
        residuals = tuple(
            functools.reduce(operator.add, parts)
            for parts in zip(*(output.residuals for output in outputs.values()), strict=True)
        )
        return SideOutput(
            residuals, {hook: {name: output.features[hook] for name, output in outputs.items()} for hook in hooks}
        )

    def init_side(start: Mapping[str, Params], key: jax.Array) -> dict[str, Params]:
        # Empty: all are fresh.
        starts = of_each("What side networks start from", start) if start else {name: {} for name in models}
        return for_each(lambda name, key: models[name].init_side(starts[name], key), key)

    def decode(
        decoder: Mapping[str, Params], feature: Mapping[str, jax.Array], t: jax.Array, shape: tuple[int, ...]
    ) -> jax.Array:
        parts = (model.decode(decoder[name], feature[name], t, shape) for name, model in models.items())
        # In float32: half precision would round each part and their sum again.
        return functools.reduce(operator.add, (part.astype(jnp.float32) for part in parts))

    def init_decoder(key: jax.Array, hook: str) -> dict[str, Params]:
        return for_each(lambda name, key: models[name].init_decoder(key, hook), key)

    def side_trunk(side: Mapping[str, Params]) -> dict[str, Params]:
        return {name: model.side_trunk(side[name]) for name, model in models.items()}

    return DualBranch(first.trunk, first.predict, side, init_side, decode, init_decoder, hooks, models, side_trunk)
