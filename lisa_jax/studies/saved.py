"""Trained networks of a study's cells on disk: `side/<cell id>.safetensors`, for probes of their features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import safe_open

from lisa_jax.checkpoints.safetensors_file import write_safetensors
from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.dual_branch import Params

FOLDER = "side"


def trainable_path(folder: str | Path, cell_id: str) -> Path:
    """Where the trainable tree of a cell is, in the study's folder."""
    return Path(folder) / FOLDER / f"{cell_id}.safetensors"


def save_trainable(folder: str | Path, cell_id: str, params: Mapping[str, Params]) -> Path:
    """Write a trainable tree, {"side": ..., "decoder": ...} of arrays, under names like `side/conv_in/kernel`.

    Raises:
      ValueError: a name in the tree has a slash.
    """
    tensors = dict(_flat(params))
    path = trainable_path(folder, cell_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    specs = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    write_safetensors(path, specs, lambda name: np.asarray(jax.device_get(tensors[name])), {"cell": cell_id})
    return path


def load_trainable(folder: str | Path, cell_id: str) -> dict[str, Params]:
    """Read what `save_trainable` wrote: a tree of numpy arrays.

    Raises:
      FileNotFoundError: the study did not save that cell's networks.
    """
    path = trainable_path(folder, cell_id)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run the study with config.save_side = True.")
    with safe_open(path, framework="numpy") as tensors:
        return tree_of({tuple(name.split("/")): tensors.get_tensor(name) for name in tensors.keys()})  # noqa: SIM118


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in tree.items():
        if "/" in name:
            raise ValueError(f"Parameter '{prefix}{name}' cannot be saved: its name has a slash.")
        found += _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else [(f"{prefix}{name}", value)]
    return found
