"""The data of a study: splits that stay in memory, so that many runs read and render them once."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from lisa_jax.dual_branch import Tree
from lisa_jax.experiments.splits import Split
from lisa_jax.families.family import Family
from lisa_jax.parallel.sharding import path_name

# Examples that are hashed at a time.
HASH_BATCH = 64


def in_memory(split: Split) -> Split:
    """The same split with every example read, and its inputs made, once for all."""
    source = [split.source[index] for index in range(len(split.source))]
    inputs = [split.make_inputs({**example, "index": index}) for index, example in enumerate(source)]
    return dataclasses.replace(split, source=source, make_inputs=lambda example: inputs[example["index"]])


def with_conditions(split: Split, names: tuple[str, ...], family: Family) -> Split:
    """The same split with only some of its conditions, for the family that has their side networks."""

    def make_inputs(example: Mapping[str, Any]) -> dict[str, Tree]:
        inputs = split.make_inputs(example)
        return {**inputs, "condition": {name: inputs["condition"][name] for name in names}}

    return dataclasses.replace(split, family=family, make_inputs=make_inputs)


def first(split: Split, count: int | None) -> Split:
    """The first examples of a split in memory; None: all."""
    return dataclasses.replace(split, source=split.source[:count])


def data_fingerprint(splits: Iterable[Split]) -> str:
    """Hash of the pictures, captions, conditions and truth of splits.

    Contexts follow from captions and base; their last bits differ from machine to machine.
    """
    digest = hashlib.sha256()
    for split in splits:
        for batch in split.ordered_batches(HASH_BATCH):
            digest.update("\0".join(batch["caption"]).encode())
            seen = {"image": split.references(batch), "condition": split.conditions(batch), "truth": split.truth(batch)}
            for path, leaf in jax.tree_util.tree_leaves_with_path(seen):
                digest.update(f"{path_name(path)} {leaf.shape} {leaf.dtype}".encode())
                digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]
