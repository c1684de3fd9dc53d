"""Key tables: which tensor of a PyTorch file is which leaf of a parameter tree, in both directions.

Our modules carry diffusers' own names, so a table needs to know two things only: which names are containers that
PyTorch numbers with a dot (`resnets.0`, ours is `resnets_0`), and how each kind of leaf is laid out. A table is made
from the shapes of the tree, so it is complete by construction: every leaf has one entry and no entry is without a leaf.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import jax
import numpy as np

_TRANSPOSE_TO_TORCH = {
    "conv": (3, 2, 0, 1),  # HWIO -> OIHW
    "conv3d": (4, 3, 0, 1, 2),  # DHWIO -> OIDHW
    "linear": (1, 0),  # IO -> OI
    "same": None,
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor: its key in the file, its path in the tree, its layout and its shape in the tree."""

    key: str
    path: tuple[str, ...]
    layout: str
    shape: tuple[int, ...]

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in the file."""
        order = _TRANSPOSE_TO_TORCH[self.layout]
        return self.shape if order is None else tuple(self.shape[axis] for axis in order)

    def to_torch(self, leaf: np.ndarray) -> np.ndarray:
        """Lay a leaf of the tree out as PyTorch stores it."""
        order = _TRANSPOSE_TO_TORCH[self.layout]
        return np.ascontiguousarray(leaf if order is None else leaf.transpose(order))

    def from_torch(self, tensor: np.ndarray) -> np.ndarray:
        """Lay a tensor of a PyTorch file out as a leaf of the tree."""
        order = _TRANSPOSE_TO_TORCH[self.layout]
        return tensor if order is None else tensor.transpose(np.argsort(order))


def key_table(shapes: Mapping, containers: Sequence[str]) -> dict[str, Entry]:
    """Make the table of a parameter tree.

    Args:
      shapes: tree of arrays or `jax.ShapeDtypeStruct`, nested dictionaries as Flax Linen makes them.
      containers: names that PyTorch numbers with a dot, e.g. `resnets` for `resnets_0 -> resnets.0`.

    Returns:
      PyTorch key -> Entry, in the order of the sorted keys.
    """
    numbered = re.compile(rf"^({'|'.join(map(re.escape, containers))})_(\d+)$") if containers else None
    entries = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        names = tuple(step.key for step in path)
        module = [numbered.sub(r"\1.\2", name) if numbered else name for name in names[:-1]]
        leaf_name, layout = _leaf(names[-1], len(leaf.shape))
        key = ".".join([*module, leaf_name])
        entries[key] = Entry(key, names, layout, tuple(leaf.shape))
    return dict(sorted(entries.items()))


def _leaf(name: str, rank: int) -> tuple[str, str]:
    """PyTorch's name and the layout of a Flax leaf."""
    if name == "kernel":
        return "weight", {5: "conv3d", 4: "conv", 2: "linear"}[rank]
    if name in ("scale", "embedding"):
        return "weight", "same"
    return name, "same"
