"""Read and write one component folder of a diffusers checkpoint: `config.json` and safetensors, nothing that executes.

Tensors are read one at a time into their final layout and dtype, so that a second copy of a tree is never held.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lisa_jax.diffusers_io.key_table import Entry

DIFFUSERS_VERSION = "0.42.1"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model"
TRANSFORMERS_WEIGHTS = "model"


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
) -> dict:
    """Read the weights of one component into a parameter tree.

    Args:
      folder: holds `<stem>.safetensors`, its shards, or their fp16 variant.
      table: the model's key table.
      dtype: final dtype of every leaf; None keeps the file's.
      stem: file name without ending.
      strip_prefix: prefix that some files carry and others do not (`text_model.`).
      ignore: keys that old files hold and no model uses (`position_ids`), by their ending.

    Returns:
      Nested dictionaries of numpy arrays in the tree's layout.
    Raises:
      CheckpointError: a tensor that is missing, extra or misshapen, by name.
    """
    files = weight_files(folder, stem)
    found = {key.removeprefix(strip_prefix): key for key in files if not key.endswith(ignore or ("\0",))}
    missing, extra = sorted(table.keys() - found.keys()), sorted(found.keys() - table.keys())
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
    tree: dict = {}
    for path in sorted(set(files.values())):
        with safe_open(path, framework="numpy") as tensors:
            for key, entry in table.items():
                if files[found[key]] != path:
                    continue
                tensor = tensors.get_tensor(found[key])
                if tensor.shape != entry.torch_shape:
                    raise CheckpointError(
                        f"{path}: tensor {key} has shape {tensor.shape}, but the config asks for {entry.torch_shape}."
                    )
                _set(tree, entry.path, np.asarray(entry.from_torch(tensor), dtype or tensor.dtype, order="C"))
    return tree


def write_params(
    folder: str | Path,
    params: Mapping,
    table: Mapping[str, Entry],
    dtype: jnp.dtype | None = None,
    stem: str = DIFFUSERS_WEIGHTS,
) -> Path:
    """Write a parameter tree as `<stem>.safetensors` with the metadata that diffusers asks for."""
    tensors = {}
    for key, entry in table.items():
        leaf = params
        for name in entry.path:
            leaf = leaf[name]
        tensors[key] = entry.to_torch(np.asarray(jax.device_get(leaf), dtype))
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / f"{stem}.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    # safetensors leaves a file that its owner alone can read.
    path.chmod(0o644)
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


def _set(tree: dict, path: tuple[str, ...], leaf: np.ndarray) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = leaf
