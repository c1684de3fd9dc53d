"""Read and write one component folder of a diffusers checkpoint: `config.json` and safetensors, nothing that executes.

Tensors are read one at a time into their final layout, dtype and place, and written one at a time, so that a second
copy of a tree is never held.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from lisa_jax.checkpoints.key_table import Entry
from lisa_jax.checkpoints.safetensors_file import write_safetensors

DIFFUSERS_VERSION = "0.42.1"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
TRANSFORMERS_WEIGHTS = "model"

# Where a leaf goes as soon as it is read: a sharding; a function of the array and its path ("mid_block/resnets_0/..."),
# which can thus follow sharding rules; or None: it stays in numpy.
Placement = jax.sharding.Sharding | Callable[[str, np.ndarray], Any] | None


class CheckpointError(ValueError):
    """A folder that is missing something, or whose tensors do not fit the model that its config describes."""


def read_config(folder: str | Path, name: str = "config.json") -> dict:
    """Read a JSON config of a checkpoint folder; raises CheckpointError where it is missing or not JSON."""
    path = Path(folder) / name
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: give the folder of a diffusers checkpoint.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}): fetch the folder again.") from error


def write_config(folder: str | Path, config: Mapping, class_name: str | None = None, name: str = "config.json") -> None:
    """Write a config as diffusers does: sorted keys, with `_class_name` and `_diffusers_version`."""
    header = {"_class_name": class_name, "_diffusers_version": DIFFUSERS_VERSION} if class_name else {}
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_text(json.dumps(header | dict(config), indent=2, sort_keys=True) + "\n")


def weight_files(folder: str | Path, stem: str = DIFFUSERS_WEIGHTS) -> dict[str, Path]:
    """Find the file of every tensor: one file, shards with an index, or the fp16 variant of either.

    Returns:
      Tensor key -> file.
    Raises:
      CheckpointError: no safetensors in the folder (a `.bin` is named with the way to convert it), or a missing or
        truncated shard.
    """
    folder = Path(folder)
    for variant in ("", ".fp16"):
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            return {key: folder / name for name in sorted(names) for key in _keys(folder / name)}
        single = folder / f"{stem}{variant}.safetensors"
        if single.is_file():
            return dict.fromkeys(_keys(single), single)
    binary = next(folder.glob("*.bin"), None)
    if binary is not None:
        raise CheckpointError(
            f"{binary} is a pickle, which can execute code, and is not read: load it once with "
            "`from_pretrained(...)` in PyTorch and call `save_pretrained(..., safe_serialization=True)`."
        )
    raise CheckpointError(f"{folder / (stem + '.safetensors')} is missing: no safetensors weights in this folder.")


def read_params(
    folder: str | Path,
    table: Mapping[str, Entry],
    dtype: jnp.dtype | None = None,
    stem: str = DIFFUSERS_WEIGHTS,
    strip_prefix: str = "",
    ignore: tuple[str, ...] = (),
    aliases: Mapping[str, str] | None = None,
    placement: Placement = None,
    whole: bool = True,
) -> dict:
    """Read the weights of one component into a parameter tree.

    At no time is more held than what is read already and, twice, the tensor that is being read.

    Args:
      folder: holds `<stem>.safetensors`, its shards, or their fp16 variant.
      table: the model's key table.
      dtype: final dtype of every leaf; None keeps the file's.
      stem: file name without ending.
      strip_prefix: prefix that some files carry and others do not (`text_model.`).
      ignore: keys that old files hold and no model uses (`position_ids`), by their ending.
      aliases: keys of old files -> keys of the table. A linear map may also stand as the 1x1 convolution that it was.
      placement: a sharding, of the devices of all processes if need be: leaves are `jax.Array`, on their devices before
        the next is read; or a function (path, numpy array) -> leaf; None: leaves are numpy arrays.
      whole: whether the table is that of the whole file; if not, tensors that it does not name are not read.

    Returns:
      Nested dictionaries of arrays in the tree's layout.
    Raises:
      CheckpointError: a tensor that is missing, extra, misshapen or there twice, by name.
    """
    files = weight_files(folder, stem)
    found: dict[str, str] = {}
    for name in files:
        if name.endswith(ignore or ("\0",)):
            continue
        key = name.removeprefix(strip_prefix)
        key = (aliases or {}).get(key, key)
        if key in found:
            raise CheckpointError(f"{folder} holds one tensor under two names, {found[key]} and {name}.")
        found[key] = name
    missing = sorted(table.keys() - found.keys())
    extra = sorted(found[key] for key in found.keys() - table.keys()) if whole else []
    if missing or extra:
        raise CheckpointError(
            f"{folder} does not fit its config: "
            + "; ".join(
                f"{len(keys)} {word} tensor(s), e.g. {', '.join(keys[:3])}"
                for word, keys in (("missing", missing), ("unexpected", extra))
                if keys
            )
            + "."
        )
    place = _place(placement)
    tree: dict = {}
    for key, entry in table.items():
        # Not named, for a name would hold it while the next is read.
        _set(tree, entry.path, place("/".join(entry.path), _read_leaf(files[found[key]], found[key], entry, dtype)))
    return tree


def write_params(
    folder: str | Path,
    params: Mapping,
    table: Mapping[str, Entry],
    dtype: jnp.dtype | None = None,
    stem: str = DIFFUSERS_WEIGHTS,
) -> Path:
    """Write a parameter tree as `<stem>.safetensors` with the metadata that diffusers asks for.

    Args:
      folder: made where it is missing.
      params: tree of arrays, or of anything with `shape`, `dtype` and `__array__`; leaves are fetched one at a time.
      table: the model's key table.
      dtype: dtype of every tensor in the file; None keeps the tree's.
      stem: file name without ending.

    Raises:
      ValueError: a leaf whose shape is not the table's, by name.
    """

    def leaf(key: str) -> Any:
        node = params
        for name in table[key].path:
            node = node[name]
        return node

    def tensor(key: str) -> np.ndarray:
        return table[key].to_torch(np.asarray(jax.device_get(leaf(key)), dtype))

    specs = {key: (entry.torch_shape, jnp.dtype(dtype or leaf(key).dtype)) for key, entry in table.items()}
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / f"{stem}.safetensors"
    write_safetensors(path, specs, tensor, {"format": "pt"})
    return path


def fingerprint(folder: str | Path, components: Mapping[str, str | None]) -> str:
    """SHA-256 over what is read of a checkpoint, as hex digits: tells one base from another.

    Args:
      folder: the checkpoint.
      components: folder of a component -> stem of its weight files, None for one without weights.
    """
    digest = hashlib.sha256()
    for component, stem in sorted(components.items()):
        part = Path(folder) / component
        weights = set() if stem is None else set(weight_files(part, stem).values())
        for path in sorted({*part.glob("*.json"), *part.glob("*.txt"), *weights}):
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _keys(path: Path) -> list[str]:
    if not path.is_file():
        raise CheckpointError(f"{path} is named by the index but missing: fetch the folder again.")
    try:
        with safe_open(path, framework="numpy") as tensors:
            return list(tensors.keys())
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error}): fetch it again.") from error


def _read_leaf(path: Path, name: str, entry: Entry, dtype: jnp.dtype | None) -> np.ndarray:
    # Opened anew for every tensor: a file stays mapped while it is open, and the pages read of it count as ours.
    with safe_open(path, framework="numpy") as tensors:
        tensor = tensors.get_tensor(name)
    if entry.layout == "linear" and tensor.shape == (*entry.torch_shape, 1, 1):
        tensor = tensor[..., 0, 0]
    if tensor.shape != entry.torch_shape:
        raise CheckpointError(
            f"{path}: tensor {name} has shape {tensor.shape}, but the config asks for {entry.torch_shape}."
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


def _set(tree: dict, path: tuple[str, ...], leaf: np.ndarray) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf
