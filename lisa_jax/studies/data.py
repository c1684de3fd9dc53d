"""The data of a study: splits that stay in memory, so that many runs read and render them once."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from lisa_jax.data.pipeline import MakeInputs
from lisa_jax.dual_branch import Tree
from lisa_jax.experiments.splits import Split
from lisa_jax.families.family import Family
from lisa_jax.parallel.sharding import path_name

# Examples that are hashed at a time.
HASH_BATCH = 64


def in_memory(split: Split) -> Split:
    """The same split with every example read, and its inputs made, once for all; mirrored ones when they are drawn."""
    source = [split.source[index] for index in range(len(split.source))]
    inputs = [split.make_inputs({**example, "index": index}) for index, example in enumerate(source)]

    @functools.cache
    def mirrored(index: int) -> Mapping[str, Tree]:
        return split.make_mirrored({**source[index], "index": index})

    return dataclasses.replace(
        split,
        source=source,
        make_inputs=lambda example: inputs[example["index"]],
        make_mirrored=None if split.make_mirrored is None else lambda example: mirrored(example["index"]),
    )


def with_conditions(split: Split, names: tuple[str, ...], family: Family) -> Split:
    """The same split with only some of its conditions, for the family that has their side networks."""

    def narrowed(make: MakeInputs) -> MakeInputs:
        def make_inputs(example: Mapping[str, Any]) -> Mapping[str, Tree]:
            inputs = make(example)
            return {**inputs, "condition": {name: inputs["condition"][name] for name in names}}

        return make_inputs

    return dataclasses.replace(
        split,
        family=family,
        make_inputs=narrowed(split.make_inputs),
        make_mirrored=None if split.make_mirrored is None else narrowed(split.make_mirrored),
    )


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
