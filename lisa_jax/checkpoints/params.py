"""Between the tensors of a checkpoint and a parameter tree.

Tensors are read one at a time into their final layout, dtype and place, and written one at a time, so that a second
copy of a tree is never held.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.errors import CheckpointError
from lisa_jax.checkpoints.key_table import Entry
from lisa_jax.checkpoints.recognise import what_keys
from lisa_jax.checkpoints.safetensors_file import write_safetensors
from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS, StoredTensor

_FLOATS = ("F64", "F32", "F16", "BF16")

# Where a leaf goes as soon as it is read: a sharding; a function of the array and its path ("mid_block/resnets_0/..."),
# which can thus follow sharding rules; or None: it stays in numpy.
Placement = jax.sharding.Sharding | Callable[[str, np.ndarray], Any] | None


def read_params(
    tensors: Mapping[str, StoredTensor],
    table: Mapping[str, Entry],
    dtype: jnp.dtype | None = None,
    placement: Placement = None,
    *,
    where: str = "The checkpoint",
    whole: bool = True,
) -> dict:
    """Read tensors into a parameter tree.

    At no time is more held than what is read already and, twice, the tensor that is being read.

    Args:
      tensors: by the keys of the table. A linear map may also stand as the 1x1 convolution that it was.
      table: the model's key table.
      dtype: final dtype of every leaf; None keeps the file's.
      placement: a sharding, of the devices of all processes if need be: leaves are `jax.Array`, on their devices before
        the next is read; or a function (path, numpy array) -> leaf; None: leaves are numpy arrays.
      where: the tensors' source, for messages.
      whole: whether the table is that of all tensors; if not, those that it does not name are not read.

    Returns:
      Nested dictionaries of arrays in the tree's layout.
    Raises:
      CheckpointError: a tensor that is missing, extra or misshapen, or whose values are not finite, by name.
    """
    check_tensors(tensors, table, where=where, whole=whole)
    place = _place(placement)
    # Not named, for a name would hold it while the next is read.
    return tree_of(
        {
            entry.path: place("/".join(entry.path), _read_leaf(tensors[key], entry, dtype))
            for key, entry in table.items()
        }
    )


def check_tensors(
    tensors: Mapping[str, StoredTensor],
    table: Mapping[str, Entry],
    *,
    where: str = "The checkpoint",
    whole: bool = True,
) -> None:
    """Check names, shapes and dtypes of tensors against a key table; arguments as of `read_params`, nothing is read.

    Raises:
      CheckpointError: a tensor that is missing, extra, misshapen or of no floating point, by name.
    """
    missing = sorted(table.keys() - tensors.keys())
    extra = sorted(tensors[key].name for key in tensors.keys() - table.keys()) if whole else []
    if missing or extra:
        lists = (
            f"{len(keys)} {word} tensor(s), e.g. {', '.join(key[:200] for key in keys[:3])}"
            for word, keys in (("missing", missing), ("unexpected", extra))
            if keys
        )
        raise CheckpointError(f"{where} does not fit its config: {'; '.join(lists)}.{_advice(extra)}")
    for key, entry in table.items():
        stored = tensors[key]
        if stored.dtype not in _FLOATS:
            raise CheckpointError(
                f"{stored.path}: tensor {stored.name} is {stored.dtype}: quantised weights are not read, give those in "
                f"{', '.join(_FLOATS)}."
            )
        # A linear map may also stand as the 1x1 convolution that it was.
        as_convolution = entry.layout == "linear" and stored.shape == (*entry.torch_shape, 1, 1)
        if stored.shape != entry.torch_shape and not as_convolution:
            raise CheckpointError(
                f"{stored.path}: tensor {stored.name} has shape {stored.shape}, but the config asks for "
                f"{entry.torch_shape}."
            )


def _advice(extra: list[str]) -> str:
    """What to do about tensors that no network of this kind has."""
    if any(".base_layer." in key or "lora_" in key for key in extra):
        return " It was saved with an adapter (LoRA) in it: call `merge_and_unload()` of PEFT and save it again."
    kind = what_keys(extra)
    return f" It looks like {kind}." if kind else ""


def write_params(
    folder: str | Path,
    params: Mapping,
    table: Mapping[str, Entry],
    dtype: jnp.dtype | None = None,
    stem: str = DIFFUSERS_WEIGHTS,
) -> None:
    """Write a parameter tree as `<stem>.safetensors` with the metadata that diffusers asks for.

    Args:
      folder: made where it is missing.
      params: tree of arrays, or of anything with `shape`, `dtype` and `__array__`; leaves are fetched one at a time.
      table: the model's key table.
      dtype: dtype of every tensor in the file; None keeps the tree's.
      stem: file name without ending.

    Raises:
      ValueError: a leaf whose shape is not the table's, or whose values are not finite in the file's dtype, by name.
    """

    def leaf(key: str) -> Any:
        node = params
        for name in table[key].path:
            node = node[name]
        return node

    def tensor(key: str) -> np.ndarray:
        # What overflows is refused below, by name.
        with np.errstate(over="ignore"):
            array = np.asarray(jax.device_get(leaf(key)), dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"Tensor {key} is not finite in {array.dtype.name}: write it in float32.")
        return table[key].to_torch(array)

    specs = {key: (entry.torch_shape, jnp.dtype(dtype or leaf(key).dtype)) for key, entry in table.items()}
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_safetensors(Path(folder) / f"{stem}.safetensors", specs, tensor, {"format": "pt"})


def _read_leaf(stored: StoredTensor, entry: Entry, dtype: jnp.dtype | None) -> np.ndarray:
    tensor = stored.read().reshape(entry.torch_shape)
    if not np.isfinite(tensor).all():
        raise CheckpointError(
            f"{stored.path}: tensor {stored.name} holds values that are not finite: fetch it again, or take the "
            "float32 weights where it overflowed in float16."
        )
    # A copy always, else a leaf that needs no conversion would keep the file mapped.
    return np.array(entry.from_torch(tensor), dtype or tensor.dtype, order="C", copy=True)


def _place(placement: Placement) -> Callable[[str, np.ndarray], Any]:
    if placement is None:
        return lambda path, array: array
    if not isinstance(placement, jax.sharding.Sharding):
        return placement

    def put(path: str, array: np.ndarray) -> jax.Array:
        del path
        # Every process takes its own part of what it has read itself. Waiting keeps host copies from piling up.
        leaf = jax.make_array_from_callback(array.shape, placement, lambda index: array[index])
        return leaf.block_until_ready()

    return put
