"""Memory that one step on a CPU has freed, kept for the next one.

XLA asks for all temporary memory of a program at once and frees it at its end. glibc maps a block of that size anew
each time, and Linux hands it out page by page, zeroed: a fifth of the time of a small step (docs/speed.md). Blocks
below 32 MiB stay with the process, if it is asked to keep them. Results are the same to the bit. Each thread that runs
a step may keep the memory of one, so large networks go without.
"""

import ctypes

import jax
from jax.sharding import Mesh

# A little less than the largest block that glibc can take from memory that it has.
_BLOCK_BYTES = 30 << 20
# Weights, optimizer and all of networks whose steps may keep their memory: those that a CPU is meant to train.
_MOST_BYTES = 1 << 30
# Of mallopt(3), by the numbers of malloc.h: M_TRIM_THRESHOLD, so that freed memory is not returned; M_TOP_PAD, the size
# of a thread's heap, so that none is given up; M_MMAP_THRESHOLD, so that blocks up to 32 MiB are taken from heaps;
# M_ARENA_MAX, so that no more than four threads keep any.
_MALLOPT = {-1: -1, -2: 64 << 20, -3: 32 << 20, -8: 4}


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees in blocks below 32 MiB, where JAX computes on a CPU.

    Elsewhere, or with another allocator than glibc's, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if jax.default_backend() != "cpu" or mallopt is None:
        return
    for parameter, value in _MALLOPT.items():
        mallopt(parameter, value)


def compiler_options(mesh: Mesh, held: int) -> dict[str, int]:
    """For `jax.jit`, of a program for this mesh: on CPUs its temporary memory in blocks that can be kept.

    Args:
      mesh: where it is to run.
      held: bytes that a device holds beside: weights, optimizer and all.
    """
    keeps = mesh.devices.flat[0].platform == "cpu" and held < _MOST_BYTES
    return {"xla_multiheap_size_constraint_per_heap": _BLOCK_BYTES} if keeps else {}
