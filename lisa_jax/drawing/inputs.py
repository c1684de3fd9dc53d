"""Examples to sample, from a split of a data set or from requests, and batches of them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np

from lisa_jax.drawing.requests import Request, load_conditions
from lisa_jax.experiments.splits import Split
from lisa_jax.families.family import TextSpace

# Captions that are encoded, and rows that are read, at a time.
READ_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Example:
    """What one sample is made of.

    Attributes:
      index: its number, which its noise depends on.
      context: (length, width).
      condition: uint8 (H, W, 3), or such arrays by the side networks' names.
      negative_context: (length, width), in place of the negative prompt's, or None.
      reference: the real image, uint8 (H, W, 3), or None.
    """

    index: int
    context: np.ndarray
    condition: np.ndarray | Mapping[str, np.ndarray]
    negative_context: np.ndarray | None = None
    reference: np.ndarray | None = None


def examples_of_split(split: Split, count: int) -> Iterator[Example]:
    """The first `count` examples of a split, with their real images."""
    for batch in split.ordered_batches(READ_BATCH):
        contexts, references = split.contexts(batch), split.references(batch)
        for row, index in enumerate(batch["index"]):
            if index == count:
                return
            condition = jax.tree.map(lambda rows, row=row: rows[row], batch["condition"])
            yield Example(int(index), contexts[row], condition, None, references[row])


def examples_of_requests(
    requests: Sequence[Request], encode_text: TextSpace, negative_prompt: str, size: tuple[int, int]
) -> Iterator[Example]:
    """Examples of requests; conditions come to `size` (height, width), errors as `load_conditions`."""
    for start in range(0, len(requests), READ_BATCH):
        rows = requests[start : start + READ_BATCH]
        contexts = encode_text([request.prompt for request in rows])
        negatives = encode_text(
            [negative_prompt if request.negative_prompt is None else request.negative_prompt for request in rows]
        )
        for row, request in enumerate(rows):
            yield Example(start + row, contexts[row], load_conditions(request, size), negatives[row])


def batches(examples: Iterator[Example], size: int) -> Iterator[tuple[list[Example], dict[str, Any]]]:
    """Examples by `size`, with the arrays that a generator takes; the last are filled up by repeating one of them."""
    while found := list(islice(examples, size)):
        filled = found + found[-1:] * (size - len(found))
        arrays = {
            "context": np.stack([example.context for example in filled]),
            "condition": jax.tree.map(lambda *rows: np.stack(rows), *(example.condition for example in filled)),
            "indices": np.asarray([example.index for example in filled]),
        }
        if filled[0].negative_context is not None:
            arrays["negative_context"] = np.stack([example.negative_context for example in filled])
        yield found, arrays
