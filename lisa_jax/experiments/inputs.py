"""From a batch's inputs as the pipeline gives them to what the loss reads; runs on the device, inside the step.

Inputs are one tree, of which every leaf begins with n:

    moments | image        posterior moments (n, *space', m), or the example itself, uint8 (n, *space, 3)
    context | read         the context, or what `Conditioner.encode` makes it of
    condition              name -> uint8 (n, *space, channels)
    condition_moments      name -> moments, where side networks see latents and these are cached
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from lisa_jax.data.prepared.dtypes import stored_dtype
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.family import Family


def model_inputs(
    inputs: Mapping[str, Tree],
    key: jax.Array,
    frozen: Mapping[str, Params],
    *,
    family: Family,
    empty: Tree,
    caption_dropout: float,
) -> dict[str, Tree]:
    """Encode what is not cached, draw latents anew and what contexts leave to be drawn, and drop captions.

    Args:
      inputs: see above.
      key: PRNG key of the dropout and of the latents.
      frozen: holds `latents` where pictures are to be encoded or contexts drawn, and `conditioner` where contexts are.
      family: its latent space, conditioner and condition encoder are used.
      empty: context of the empty caption, (1, ...).
      caption_dropout: probability of replacing an example's context by its unconditional twin; of several kinds of
        dropout (`Conditioner.drops`) that of each.

    Raises:
      ValueError: probabilities that add up to more than 1.
    Returns:
      latents float32 (n, *space', c), context, and condition by name where there are conditions.
    """
    dropout_key, latents_key = jax.random.split(key)
    conditioner = family.conditioner
    context = inputs["context"] if "context" in inputs else conditioner.encode(frozen["conditioner"], inputs["read"])
    if conditioner.draw is not None:
        keys = jax.random.split(jax.random.fold_in(dropout_key, 1), len(jax.tree.leaves(context)[0]))
        context = conditioner.draw(frozen["latents"], context, keys, training=True)
    if caption_dropout > 0:
        null = conditioner.null(context, empty)
        context = _dropped(context, null, dropout_key, caption_dropout, conditioner.drops)
    latents = family.latents
    moments = inputs["moments"] if "moments" in inputs else latents.moments(frozen["latents"], inputs["image"])
    found = {"latents": latents.sample(moments, latents_key), "context": context}
    condition = _conditions(inputs, latents_key, frozen, family)
    return found | ({"condition": condition} if condition else {})


def _dropped(context: Tree, null: Tree, key: jax.Array, probability: float, kinds: tuple[tuple[str, ...], ...]) -> Tree:
    """The context, of each row by chance its null, or of several kinds of dropout the parts of one that it names."""
    count = len(jax.tree.leaves(context)[0])
    if not kinds:
        return _where(jax.random.bernoulli(key, probability, (count,)), null, context)
    if probability * len(kinds) > 1:
        raise ValueError(
            f"caption_dropout is {probability}, but this base drops parts of its context in {len(kinds)} ways, each as "
            f"often: give at most {1 / len(kinds):.2g}."
        )
    kind = jnp.floor(jax.random.uniform(key, (count,)) / probability)

    def part(name: str) -> Tree:
        drops = [kind == number for number, names in enumerate(kinds) if name in names]
        return _where(functools.reduce(jnp.logical_or, drops), null[name], context[name]) if drops else context[name]

    return {name: part(name) for name in context}


def _where(rows: jax.Array, yes: Tree, no: Tree) -> Tree:
    """Of each row one tree or the other, in the dtypes of the other."""

    def choose(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(rows.reshape(-1, *(1,) * (other.ndim - 1)), one.astype(other.dtype), other)

    return jax.tree.map(choose, yes, no)


def _conditions(
    inputs: Mapping[str, Tree], key: jax.Array, frozen: Mapping[str, Params], family: Family
) -> dict[str, jax.Array]:
    """What each side network sees; where latents are drawn, each with a key of its own."""
    pictures, moments = inputs.get("condition", {}), inputs.get("condition_moments", {})
    keys = {name: jax.random.fold_in(key, 1 + number) for number, name in enumerate(sorted({*pictures, *moments}))}
    seen = {name: family.condition.sample(rows, keys[name]) for name, rows in moments.items()}
    return seen | {name: family.condition(frozen.get("latents"), rows, keys[name]) for name, rows in pictures.items()}


def cached_shapes(family: Family, count: int, size: tuple[int, ...]) -> dict[str, Tree]:
    """Shapes of the inputs of `count` examples of a size, as a prepared data set with everything cached gives them."""

    def rows(shape: tuple[int, ...], dtype: jnp.dtype) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *shape), dtype)

    names, shapes = tuple(family.model.sides), family.conditioner.shapes_at(size)
    moments = rows(family.latents.moments_shape(*size), jnp.bfloat16)
    if family.condition.moments is None:
        condition = {"condition": {name: rows((*size, family.channels_of(name)), jnp.uint8) for name in names}}
    else:
        condition = {"condition_moments": dict.fromkeys(names, moments)}
    return {
        "moments": moments,
        "context": jax.tree.map(lambda leaf: rows(leaf.shape, stored_dtype(leaf.dtype)), shapes),
        **condition,
    }
