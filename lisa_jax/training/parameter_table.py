"""The table of parameters printed at the start of a run: what is frozen, what trains, and how large both are."""

from collections.abc import Mapping

import jax

from lisa_jax.dual_branch import Params

# How many names of a path tell a module apart: those of side networks come below their own names, decoders have a
# hook's and a side network's. A frozen network is one line.
_DEPTH = {"side": 3, "decoder": 3, "main": 2}


def parameter_table(frozen: Params, trainable: Params) -> str:
    """One line a module with count, bytes and dtype, and the sums; trees may hold shapes only."""
    rows = {
        **_rows("frozen", {(name,): jax.tree.leaves(part) for name, part in frozen.items()}),
        **_rows("trainable", _modules(trainable)),
    }
    width = max(map(len, rows)) + 2
    header = f"{'parameters':<{width}}{'count':>14}{'MiB':>10}  dtype"
    return "\n".join([header, *(f"{name:<{width}}{_size(leaves)}" for name, leaves in rows.items())])


def memory_line(device_bytes: Mapping[str, int]) -> str:
    """What one device holds, by part and in all; the rest of its memory is for what a step computes."""
    parts = ", ".join(f"{name} {_mebibytes(size)}" for name, size in device_bytes.items())
    return f"each device holds {_mebibytes(sum(device_bytes.values()))}: {parts}"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _rows(title: str, modules: dict[tuple[str, ...], list]) -> dict[str, list]:
    named = {"/".join((title, *path)): leaves for path, leaves in modules.items()}
    return named | {f"{title} in total": [leaf for leaves in modules.values() for leaf in leaves]}


def _modules(tree: Params) -> dict[tuple[str, ...], list]:
    modules: dict[tuple[str, ...], list] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        names = tuple(step.key for step in path)
        modules.setdefault(names[: _DEPTH.get(names[0], 1)], []).append(leaf)
    return modules


def _size(leaves: list) -> str:
    count = sum(leaf.size for leaf in leaves)
    mebibytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) / 2**20
    dtypes = ", ".join(sorted({leaf.dtype.name for leaf in leaves})) or "-"
    return f"{count:>14,}{mebibytes:>10.1f}  {dtypes}"
