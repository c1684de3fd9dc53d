"""The device mesh and where things live on it: batches are split over `data`, parameters stand on every device."""

from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def make_mesh() -> Mesh:
    """A mesh of all devices of all processes with the one axis `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


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


def global_batch(local: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Make sharded global arrays from this process's contiguous rows of the batch."""
    return {name: jax.make_array_from_process_local_data(split_rows(mesh), rows) for name, rows in local.items()}
