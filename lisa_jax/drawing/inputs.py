"""What is to be drawn, from a split of a data set or from requests, and batches of it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np

from lisa_jax.drawing.requests import Request, load_conditions
from lisa_jax.dual_branch import Tree
from lisa_jax.experiments.splits import Split
from lisa_jax.families.family import Conditioner

# Captions that are encoded, and rows that are read, at a time.
READ_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What one sample is made of.

    Attributes:
      index: its number, which its noise depends on.
      context: a tree of arrays, one row of a context.
      conditions: uint8 (*space, 3) by the side networks' names.
      negative_context: likewise, in place of the negative prompt's, or None.
      reference: the real one, uint8 (*space, 3), or None.
    """

    index: int
    context: Tree
    conditions: Mapping[str, np.ndarray]
    negative_context: Tree | None = None
    reference: np.ndarray | None = None


def drawings_of_split(split: Split, count: int) -> Iterator[Drawing]:
    """The first `count` examples of a split, with the real ones."""
    for batch in split.ordered_batches(READ_BATCH):
        rows = (split.contexts(batch), split.conditions(batch), split.references(batch))
        for row, index in enumerate(batch["index"]):
            if index == count:
                return
            context, conditions, reference = jax.tree.map(lambda leaf, row=row: leaf[row], rows)
            yield Drawing(int(index), context, conditions, None, reference)


def drawings_of_requests(
    requests: Sequence[Request], conditioner: Conditioner, negative_prompt: str, size: tuple[int, int]
) -> Iterator[Drawing]:
    """Drawings of requests; conditions come to `size` (height, width), errors as `load_conditions`."""
    for start in range(0, len(requests), READ_BATCH):
        rows = requests[start : start + READ_BATCH]
        prompts = [request.prompt for request in rows]
        negatives = [negative_prompt if row.negative_prompt is None else row.negative_prompt for row in rows]
        encoded = tuple(conditioner.contexts([{"caption": text} for text in texts]) for texts in (prompts, negatives))
        for row, request in enumerate(rows):
            context, negative = jax.tree.map(lambda leaf, row=row: leaf[row], encoded)
            yield Drawing(start + row, context, load_conditions(request, size), negative)


def batches(drawings: Iterator[Drawing], size: int) -> Iterator[tuple[list[Drawing], dict[str, Any]]]:
    """Drawings by `size`, with the arrays that a generator takes; the last are filled up by repeating one of them."""
    while found := list(islice(drawings, size)):
        filled = found + found[-1:] * (size - len(found))
        arrays = {
            "context": stacked([drawing.context for drawing in filled]),
            "conditions": stacked([drawing.conditions for drawing in filled]),
            "indices": np.asarray([drawing.index for drawing in filled]),
        }
        if filled[0].negative_context is not None:
            arrays["negative_context"] = stacked([drawing.negative_context for drawing in filled])
        yield found, arrays


def stacked(trees: Sequence[Tree]) -> Tree:
    """Trees of arrays of the same shapes as one tree with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
