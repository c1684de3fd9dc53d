"""The table of parameters printed at the start of a run: what is frozen, what trains, and how large it is."""

import jax

from lisa_jax.dual_branch import Params


def parameter_table(frozen: Params, trainable: Params) -> str:
    """One line a top-level module with count, bytes and dtype, and the sums; trees may hold shapes only."""
    lines = [f"{'parameters':<44}{'count':>14}{'MiB':>10}  dtype"]
    for title, tree in (("frozen", frozen), ("trainable", trainable)):
        modules = _modules(tree, depth=2 if title == "trainable" else 1)
        for name, leaves in modules.items():
            lines.append(_line(f"{title}/{name}", leaves))
        lines.append(_line(f"{title} in total", jax.tree.leaves(tree)))
    return "\n".join(lines)


def _modules(tree: Params, depth: int) -> dict[str, list]:
    modules: dict[str, list] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        modules.setdefault("/".join(step.key for step in path[:depth]), []).append(leaf)
    return modules


def _line(name: str, leaves: list) -> str:
    count = sum(leaf.size for leaf in leaves)
    mebibytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / 2**20
    dtypes = ", ".join(sorted({leaf.dtype.name for leaf in leaves})) or "-"
    return f"{name:<44}{count:>14,}{mebibytes:>10.1f}  {dtypes}"
