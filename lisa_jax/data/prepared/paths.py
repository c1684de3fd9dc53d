"""Trees of arrays, as dicts within dicts, and their leaves by path."""

from collections.abc import Mapping
from typing import Any

Tree = Any
# The keys that lead to a leaf.
Path = tuple[str, ...]


def leaves_by_path(tree: Tree, path: Path = ()) -> dict[Path, Any]:
    """Leaves of a tree in its own order; raises ValueError where it holds anything but dicts and arrays."""
    if not isinstance(tree, Mapping):
        if not hasattr(tree, "shape"):
            raise ValueError(
                f"{name_of(path)} is a {type(tree).__name__}: what is stored must be an array, or a dict of such."
            )
        return {path: tree}
    return {place: leaf for key, part in tree.items() for place, leaf in leaves_by_path(part, (*path, key)).items()}


def tree_of(leaves: Mapping[Path, Any]) -> dict[str, Tree]:
    """The tree that has these leaves."""
    tree: dict[str, Tree] = {}
    for (*parents, key), leaf in leaves.items():
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = leaf
    return tree


def name_of(path: Path) -> str:
    """What a leaf is called on disk: `context.tokens`."""
    return ".".join(path)
