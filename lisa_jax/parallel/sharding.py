"""The device mesh, and where batches and parameters live on it.

Three axes, each of any size: `data` and `fsdp` split the batch; `fsdp` and `tensor` split the parameters that the rules
of a family say. XLA inserts the collectives. Where a parameter goes is decided by the first rule whose pattern is found
in its path; one without a rule is an error, so that a new module cannot silently be copied everywhere.
"""

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lisa_jax.dual_branch import Params, Tree

AXES = ("data", "fsdp", "tensor")
# Ordered: (regular expression searched in "side/mid_block/.../kernel", how its last axes are split), so that one rule
# serves a linear map (in, out) and a convolution (height, width, in, out).
Rules = Sequence[tuple[str, PartitionSpec]]
REPLICATED: Rules = ((".*", PartitionSpec()),)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of all devices of all processes (or of those given) with the axes data, fsdp and tensor.

    Devices stand process by process, so that process p holds the p-th contiguous block of a global batch's rows, as
    the pipeline deals them out. (`jax.make_mesh` may order the devices of a TPU slice otherwise.)

    Args:
      data: size of the axis; -1: whatever the others leave.

    Raises:
      ValueError: sizes whose product is not the number of devices, or a tensor axis across processes.
    """
    if devices is None:
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    count = len(devices)
    if min(fsdp, tensor) < 1 or (data < 1 and data != -1) or count % (fsdp * tensor):
        raise ValueError(
            f"mesh data={data}, fsdp={fsdp}, tensor={tensor} does not fit {count} devices: fsdp x tensor must divide "
            "them, and data is the rest (-1)."
        )
    data = count // (fsdp * tensor) if data == -1 else data
    if data * fsdp * tensor != count:
        raise ValueError(
            f"mesh data={data}, fsdp={fsdp}, tensor={tensor} has {data * fsdp * tensor} places for {count} devices."
        )
    mesh = Mesh(np.asarray(devices).reshape(data, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    groups = mesh.devices.reshape(-1, tensor)
    if any(len({device.process_index for device in group}) > 1 for group in groups):
        raise ValueError(f"mesh tensor={tensor} spans processes: every process needs whole rows of a batch.")
    return mesh


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_rows(mesh: Mesh) -> NamedSharding:
    """The leading axis split over `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def traced_on(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, traced in the context of a mesh, for the parts of a model that XLA cannot split by itself."""

    @functools.wraps(function)
    def traced(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


def row_blocks(mesh: Mesh) -> int:
    """How many blocks the rows of a batch are split into."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch_size(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """Raise ValueError unless a global batch splits evenly over microbatches and devices."""
    if batch_size % (accumulate * row_blocks(mesh)):
        raise ValueError(
            f"batch_size {batch_size} is not a multiple of accumulate ({accumulate}) x devices that split the batch "
            f"({row_blocks(mesh)})."
        )


def shardings(tree: Params, rules: Rules, mesh: Mesh) -> Params:
    """The sharding of every leaf of a tree of arrays or shapes.

    Scalars are replicated without a rule. An axis that does not divide by its part of the mesh stays whole.

    Raises:
      ValueError: a leaf without a rule, or a rule for more axes than the leaf has, by path.
    """
    compiled = [(re.compile(pattern), spec) for pattern, spec in rules]

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        if leaf.ndim == 0:
            return replicated(mesh)
        name = path_name(path)
        spec = next((spec for pattern, spec in compiled if pattern.search(name)), None)
        if spec is None:
            raise ValueError(f"No sharding rule for parameter '{name}' of shape {leaf.shape}: add one to its family.")
        if len(spec) > leaf.ndim:
            raise ValueError(f"The sharding rule {spec} of '{name}' has more axes than its shape {leaf.shape}.")
        whole = (None,) * (leaf.ndim - len(spec))
        return NamedSharding(mesh, PartitionSpec(*map(_dividing(mesh), leaf.shape, (*whole, *spec))))

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def _dividing(mesh: Mesh) -> Callable[[int, Any], Any]:
    """(size of an axis, names of mesh axes) -> the names, or None where they do not divide it."""

    def axis(size: int, names: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        parts = np.prod([mesh.shape[name] for name in ([names] if isinstance(names, str) else names or ())], dtype=int)
        return names if parts > 1 and size % parts == 0 else None

    return axis


def path_name(path: tuple[Any, ...]) -> str:
    """A leaf's path as `a/b/c`."""
    return "/".join(str(getattr(step, "key", getattr(step, "name", getattr(step, "idx", step)))) for step in path)


def place(tree: Params, sharding: Params) -> Params:
    """Put a tree that every process holds alike where its shardings say.

    Unlike `jax.device_put`, this does not send the whole tree between processes to compare it. What is on the devices
    as asked already stays as it is.
    """

    def put(leaf: Any, target: NamedSharding) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(target, leaf.ndim):
            return leaf
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, target, lambda index: leaf[index])

    return jax.tree.map(put, tree, sharding)


def placement(rules: Rules, mesh: Mesh) -> Callable[[str, np.ndarray], jax.Array]:
    """(path, array) -> the array where the rules say: for readers that give up each tensor as soon as they have it."""

    def put(path: str, array: np.ndarray) -> jax.Array:
        return place(array, shardings({path: array}, rules, mesh)[path])

    return put


def global_rows(local: Tree, mesh: Mesh) -> Tree:
    """Make sharded global arrays from this process's contiguous rows of a batch, a tree of arrays (n, ...)."""
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(split_rows(mesh), rows), local)


def shard_bytes(tree: Tree) -> int:
    """Bytes on one device of a tree of arrays, or of shapes with shardings."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def with_shardings(shapes: Tree, shardings: Tree) -> Tree:
    """A tree of arrays or shapes as shapes that say where each leaf goes."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, shardings
    )
