"""What takes the place of weights and files where there is an architecture alone."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp

from lisa_jax.checkpoints.key_table import Entry
from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.dual_branch import Params


def shapes_of(table: Mapping[str, Entry], dtype: jnp.dtype) -> Params:
    """The parameter tree of a key table, as shapes of one dtype."""
    return tree_of({entry.path: jax.ShapeDtypeStruct(entry.shape, dtype) for entry in table.values()})


def no_weights() -> Params:
    """In place of reading weights that nothing needs."""
    return {}


def not_read(what: str) -> Callable[..., Any]:
    """In place of a function that needs a checkpoint."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise ValueError(f"{what}: this is an architecture alone, without a checkpoint to read or write.")

    return refuse
