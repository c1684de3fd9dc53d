"""Trees of arrays, as dicts within dicts, from their leaves by path."""

from collections.abc import Mapping
from typing import Any

# The keys that lead to a leaf.
Path = tuple[str, ...]


def tree_of(leaves: Mapping[Path, Any]) -> dict[str, Any]:
    """The tree that has these leaves."""
    tree: dict[str, Any] = {}
    for (*parents, key), leaf in leaves.items():
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = leaf
    return tree
