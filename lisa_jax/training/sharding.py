"""The device mesh and where things live on it: batches are split over `data`, parameters stand on every device."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lisa_jax.dual_branch import Params


def make_mesh() -> Mesh:
    """A mesh of all devices of all processes with the one axis `data`.

    Devices stand process by process, so that process p holds the p-th contiguous block of a global batch's rows, as
    the pipeline deals them out. (`jax.make_mesh` may order the devices of a TPU slice otherwise.)
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_rows(mesh: Mesh) -> NamedSharding:
    """The leading axis split over `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """Raise ValueError unless a global batch splits evenly over microbatches and devices."""
    if batch_size % (accumulate * mesh.size):
        raise ValueError(
            f"batch_size {batch_size} is not a multiple of accumulate ({accumulate}) x devices ({mesh.size})."
        )


def replicate(tree: Params, mesh: Mesh) -> Params:
    """Copy a tree that every process holds alike to all devices.

    Unlike `jax.device_put`, this does not send the whole tree between processes to compare it.
    """

    def put(leaf: np.ndarray) -> jax.Array:
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, replicated(mesh), lambda index: leaf[index])

    return jax.tree.map(put, tree)


def global_batch(local: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Make sharded global arrays from this process's contiguous rows of the batch."""
    return {name: jax.make_array_from_process_local_data(split_rows(mesh), rows) for name, rows in local.items()}
