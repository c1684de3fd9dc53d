"""The context of the empty caption, which a prepared data set keeps beside its shards where contexts are cached."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from lisa_jax.checkpoints.tree import tree_of
from lisa_jax.data.embedded.records import CorruptRecordError
from lisa_jax.data.prepared.first_format import NULL_CONTEXT_FILE
from lisa_jax.data.prepared.layout import EMPTY_CONTEXT_FILE
from lisa_jax.data.prepared.metadata import Metadata
from lisa_jax.data.prepared.paths import Tree
from lisa_jax.files.sha256 import sha256_of
from lisa_jax.parallel.messages import with_kind


def empty_context_file(folder: Path, metadata: Metadata) -> Path | None:
    """The file that holds it; None where contexts are not cached."""
    if "context" not in metadata.cached:
        return None
    first = folder / NULL_CONTEXT_FILE
    return first if first.is_file() else folder / EMPTY_CONTEXT_FILE


def read_empty_context(folder: Path, metadata: Metadata) -> Tree:
    """Read it: a tree of arrays (1, ...), floats in float32; {} of a base that reads no captions.

    Raises:
      FileNotFoundError: the file is missing.
      CorruptRecordError: it is not the file that was written, or holds something else than a context.
    """
    path = empty_context_file(folder, metadata)
    what_to_do = "restore this file, or prepare the data set again."
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {what_to_do}")
    if metadata.empty_context not in (None, sha256_of(path)):
        raise CorruptRecordError(f"{path} is not as it was written (its hash is another one): {what_to_do}")
    try:
        if path.name == NULL_CONTEXT_FILE:
            leaves = {("context",): np.load(path, allow_pickle=False)}
        else:
            leaves = {metadata.features[name].path: array for name, array in load_file(path).items()}
    # Of many kinds for damaged bytes; a name that is no feature is a KeyError.
    except Exception as error:
        raise CorruptRecordError(f"{path} is damaged ({with_kind(error)}): {what_to_do}") from error
    if not leaves:
        return {}
    expected = {f.path: (1, *f.shapes[0]) for f in metadata.features.values() if f.path[0] == "context"}
    if {place: leaf.shape for place, leaf in leaves.items()} != expected:
        raise CorruptRecordError(f"{path} holds arrays of other shapes than contexts have: {what_to_do}")
    return tree_of(leaves)["context"]
