"""The device mesh that a model is traced for, which operations that XLA cannot split by itself have to know.

It is the mesh of the context (`jax.sharding.use_abstract_mesh`), as `training.step.jit_train_step` sets it. Without
one a model is traced for the default device.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, PartitionSpec

# The axis of a mesh that splits the heads of attention; all others split the rows of a batch.
HEAD_AXIS = "tensor"
_LOOPED = contextvars.ContextVar("looped", default=False)


def platform() -> str:
    """Where the traced program will run: "cpu", "gpu" or "tpu"; the devices of a mesh need not be on this machine."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def runs_on_ampere() -> bool:
    """Whether the traced program will run on NVIDIA GPUs of the generation of Ampere or a newer one.

    GPUs that are on this machine say so themselves; those that programs are compiled for elsewhere
    (`lisa_jax.aot.gpus`) are none older.
    """
    target, here = jax.sharding.get_abstract_mesh().abstract_device, jax.devices()[0]
    if target is not None and target.device_kind != here.device_kind:
        return target.platform == "gpu" and "NVIDIA" in target.device_kind
    on_cuda = here.platform == "gpu" and "cuda" in here.client.platform_version.lower()
    return on_cuda and float(getattr(here, "compute_capability", 0) or 0) >= 8.0


@contextlib.contextmanager
def looped() -> Iterator[None]:
    """What is traced within is the turn of a loop over microbatches."""
    token = _LOOPED.set(True)
    try:
        yield
    finally:
        _LOOPED.reset(token)


def is_looped() -> bool:
    """Whether the traced program is the turn of a loop over microbatches, whose gradients are added up after it."""
    return _LOOPED.get()


def context_mesh() -> AbstractMesh | None:
    """The mesh of the context, or None where there is none or it has one device only."""
    mesh = jax.sharding.get_abstract_mesh()
    return None if mesh.empty or mesh.size == 1 else mesh


def spans_one_device() -> bool:
    """Whether the traced program is for one device only, by the mesh of the context or for want of others."""
    mesh = jax.sharding.get_abstract_mesh()
    return jax.device_count() == 1 if mesh.empty else mesh.size == 1


def row_axes(mesh: AbstractMesh) -> tuple[str, ...]:
    """Names of the axes that split the rows of a batch."""
    return tuple(name for name in mesh.axis_names if name != HEAD_AXIS)


def divides(mesh: AbstractMesh, names: tuple[str, ...], size: int) -> bool:
    """Whether an array axis of this size splits evenly over these axes."""
    return size % math.prod(mesh.shape[name] for name in names) == 0


def summed_over_rows(function: Callable[..., Any], *rows: jax.Array) -> Any:
    """function(*rows), whose results are sums over the rows: each device's own first, added up as they come out of it.

    Args:
      function: arrays (n, ...) -> a tree of arrays.
      *rows: arrays (n, ...).
    """
    mesh = context_mesh()
    if mesh is None or not divides(mesh, row_axes(mesh), rows[0].shape[0]):
        return function(*rows)
    axes = row_axes(mesh)
    split = PartitionSpec(axes)

    def total(*own: jax.Array) -> Any:
        return _psum(function(*own), axes)

    specs = {"in_specs": (split,) * len(rows), "out_specs": PartitionSpec()}
    return jax.shard_map(total, axis_names=set(axes), check_vma=False, **specs)(*rows)


def _psum(sums: Any, axes: tuple[str, ...]) -> Any:
    if platform() != "cpu":
        return jax.lax.psum(sums, axes)
    # XLA's compiler for CPUs adds up bfloat16 in float32 anyway, but aborts ("Invalid binary instruction opcode copy")
    # where it has to make that of such a sum within a shard_map that leaves an axis to it.
    wide = jax.lax.psum(jax.tree.map(lambda part: part.astype(jnp.float32), sums), axes)
    return jax.tree.map(lambda part, own: part.astype(own.dtype), wide, sums)
