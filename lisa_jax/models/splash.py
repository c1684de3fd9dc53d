"""Self-attention on TPUs by JAX's splash kernel: the l x l scores are never stored, forward or backward."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from lisa_jax.models.mesh import HEAD_AXIS, context_mesh, divides, row_axes, spans_one_device

# The kernel works on blocks of the sequence whose length is a multiple of a register's 128 lanes.
LANES = 128
LARGEST_BLOCK = 512
# Other lengths are filled up to a multiple of this, for blocks of 128 would be slow.
FILLED_TO = 256
# Scores of shorter sequences stay in the chip's vector memory without it.
SHORTEST = 1024


def takes(query: jax.Array, key: jax.Array) -> bool:
    """Whether `splash_attention` serves these: self-attention over many tokens, rows that split evenly over the mesh.

    Args:
      query: (n, l, heads, d).
      key: (n, m, heads, d).
    """
    n, length = query.shape[:2]
    mesh = context_mesh()
    splits = spans_one_device() if mesh is None else divides(mesh, row_axes(mesh), n)
    return splits and key.shape[1] == length >= SHORTEST


def splash_attention(query: jax.Array, key: jax.Array, value: jax.Array, *, interpret: bool = False) -> jax.Array:
    """Scaled dot-product self-attention; scores and their sums in float32.

    XLA cannot split a kernel: in the context of a mesh every device works on its own rows and, where they divide, on
    its own heads.

    Args:
      query, key, value: (n, l, heads, d), l and d any (the compiler pads d to 64 or 128).
      interpret: run on any platform, very slowly.

    Returns:
      (n, l, heads, d) in the dtype of the query.
    """
    mesh = context_mesh()
    if mesh is None:
        return _attend(query, key, value, interpret)
    heads = HEAD_AXIS if divides(mesh, (HEAD_AXIS,), query.shape[2]) else None
    split = PartitionSpec(row_axes(mesh), None, heads, None)
    local = partial(_attend, interpret=interpret)
    # The kernel does not say over which axes its result varies, which the check would ask of it.
    return jax.shard_map(local, in_specs=(split,) * 3, out_specs=split, check_vma=False)(query, key, value)


def _attend(query: jax.Array, key: jax.Array, value: jax.Array, interpret: bool) -> jax.Array:
    length, heads, width = query.shape[1:]
    filled = length if length % LANES == 0 else -(-length // FILLED_TO) * FILLED_TO
    rest = ((0, 0), (0, 0), (0, filled - length), (0, 0))
    kernel = _kernel(filled, heads, interpret)
    arrays = (jnp.pad(array.swapaxes(1, 2), rest) for array in (query * width**-0.5, key, value))
    # What fills up attends to itself only.
    segments = None if filled == length else _segments((jnp.arange(filled) >= length).astype(jnp.int32))
    return jax.vmap(partial(kernel, segment_ids=segments))(*arrays)[:, :, :length].swapaxes(1, 2)


def _segments(ids: jax.Array) -> Any:
    """The kernel's segments: a query attends to the keys with its own number."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel

    return splash_attention_kernel.SegmentIds(ids, ids)


def _kernel(length: int, heads: int, interpret: bool) -> Callable[..., jax.Array]:
    # Here, for no other platform needs Pallas.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel, splash_attention_mask

    block = max(size for size in range(LANES, LARGEST_BLOCK + 1, LANES) if length % size == 0)
    names = ("block_q", "block_kv", "block_kv_compute", "block_q_dq", "block_kv_dq")
    names += ("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute")
    everything = splash_attention_mask.MultiHeadMask([splash_attention_mask.FullMask((length, length))] * heads)
    return splash_attention_kernel.make_splash_mha_single_device(
        everything, block_sizes=splash_attention_kernel.BlockSizes(**dict.fromkeys(names, block)), interpret=interpret
    )
