"""The leaves of trees of arrays by path, and their names on disk."""

from collections.abc import Mapping
from typing import Any

from lisa_jax.checkpoints.tree import Path

Tree = Any


def leaves_by_path(tree: Tree, path: Path = ()) -> dict[Path, Any]:
    """Leaves of a tree in its own order; raises ValueError where it holds anything but dicts and arrays."""
    if not isinstance(tree, Mapping):
        if not hasattr(tree, "shape"):
            raise ValueError(
                f"{name_of(path)} is a {type(tree).__name__}: what is stored must be an array, or a dict of such."
            )
        return {path: tree}
    return {place: leaf for key, part in tree.items() for place, leaf in leaves_by_path(part, (*path, key)).items()}


def name_of(path: Path) -> str:
    """What a leaf is called on disk: `context.tokens`."""
    return ".".join(path)
