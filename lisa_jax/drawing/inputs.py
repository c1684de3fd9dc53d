"""What is to be drawn, from a split of a data set or from requests, and batches of it."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from lisa_jax.data.geometry import Size, fit
from lisa_jax.drawing.clips import fitted_clips, fitted_first_frame, fps_of
from lisa_jax.drawing.examined import read_conditions
from lisa_jax.drawing.requests import Request
from lisa_jax.dual_branch import Tree
from lisa_jax.experiments.splits import Split
from lisa_jax.families.conditioner import Conditioner

# Captions that are encoded, and rows that are read, at a time.
READ_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What one sample is made of.

    Attributes:
      index: its number, which its noise depends on.
      context: a tree of arrays, one row of a context.
      conditions: uint8 (*space, channels) by the side networks' names.
      negative_context: likewise, in place of the negative prompt's, or None.
      reference: the real one, uint8 (*space, 3), or None.
      decoded: whether the reference is what its latents decode to.
      fps: frames a second of what has frames, where that is known.
    """

    index: int
    context: Tree
    conditions: Mapping[str, np.ndarray]
    negative_context: Tree | None = None
    reference: np.ndarray | None = None
    decoded: bool = False
    fps: float | None = None


def drawings_of_split(split: Split, count: int) -> Iterator[Drawing]:
    """The first `count` examples of a split, with the real ones; where they have several sizes, size by size."""
    split = split.first(count)
    for batch in split.ordered_batches(READ_BATCH):
        rows = (split.contexts(batch), split.conditions(batch), split.references(batch))
        decoded, rates = split.is_decoded(batch), [example.get("fps") for example in split.examples(batch)]
        for row, index in enumerate(batch["index"]):
            context, conditions, reference = jax.tree.map(lambda leaf, row=row: leaf[row], rows)
            yield Drawing(int(index), context, conditions, None, reference, decoded, rates[row])


def drawings_of_requests(
    requests: Sequence[Request],
    sizes: Sequence[Size],
    conditioner: Conditioner,
    negative_prompt: str,
    classes: Collection[str] = (),
    channels: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[Drawing]:
    """Drawings of requests.

    Args:
      requests: prompts with their conditions.
      sizes: (height, width) of each, or of its frames.
      conditioner: encodes the prompts.
      negative_prompt: for requests that have none of their own.
      classes: conditions whose colours are classes, see `fit`.
      channels: of the conditions, by name, that have not 3.

    Raises:
      RowError, PictureError: a condition that cannot be read, or conditions of different aspect ratios.
    """
    # First frames of several sizes cannot be encoded together.
    at_once = 1 if conditioner.sees_pictures else READ_BATCH
    for start in range(0, len(requests), at_once):
        rows, to = requests[start : start + at_once], sizes[start : start + at_once]
        negatives = [negative_prompt if row.negative_prompt is None else row.negative_prompt for row in rows]
        rates = [None if row.clip is None else fps_of(row) for row in rows]
        examples = [_example(*one) for one in zip(rows, to, rates, strict=True)]
        contexts = conditioner.contexts(examples, at_once if conditioner.sees_pictures else None)
        encoded = contexts, conditioner.negatives(contexts, negatives)
        for row, request in enumerate(rows):
            context, negative = jax.tree.map(lambda leaf, row=row: leaf[row], encoded)
            conditions = fitted_conditions(request, to[row], classes, channels)
            yield Drawing(start + row, context, conditions, negative, fps=rates[row])


def _example(request: Request, size: Size, fps: float | None) -> dict[str, Any]:
    """What a conditioner may read of a picture that is still to be made: one that was never resized nor cropped."""
    known = {"caption": request.prompt, "size": size, "original_size": size, "crop": (0, 0)}
    if request.first_frame is not None:
        known["first_frame"] = fitted_first_frame(request, size)
    if request.clip is not None and request.clip.motion is not None:
        known["motion"] = request.clip.motion
    return known if fps is None else known | {"fps": fps}


def fitted_conditions(
    request: Request,
    size: Size,
    classes: Collection[str] = (),
    channels: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """A request's conditions, resized and cropped to `size` (height, width) as those of rows are: uint8 (*space, c).

    Raises:
      RowError, PictureError: a condition that cannot be read, or conditions of different aspect ratios.
    """
    if request.clip is not None:
        return fitted_clips(request, size, classes, channels)
    pictures = read_conditions(request, channels)
    first = next(iter(pictures))
    how = {"where": request.where, "min_size": 1, "subject": f"condition {first!r}"}
    return fit(pictures[first], pictures, size, labels=classes, **how).conditions


def batches(
    drawings: Iterable[Drawing], size: int, counts: Mapping[Size, int] = MappingProxyType({})
) -> Iterator[tuple[list[Drawing], dict[str, Any]]]:
    """Drawings by `size`, with the arrays that a generator takes.

    Args:
      drawings: those of one size of pictures share batches; the last are filled up by repeating one of them.
      size: of a batch.
      counts: how many there are of a size of pictures; where these are fewer, so are those of a batch.
    """
    waiting: dict[Size, list[Drawing]] = {}
    for drawing in drawings:
        space = next(iter(drawing.conditions.values())).shape[:-1]
        group = waiting.setdefault(space, [])
        group.append(drawing)
        if len(group) == min(size, counts.get(space, size)):
            yield group, _arrays(waiting.pop(space))
    for space, group in waiting.items():
        missing = min(size, counts.get(space, size)) - len(group)
        yield group, _arrays(group + group[-1:] * missing)


def _arrays(drawings: Sequence[Drawing]) -> dict[str, Any]:
    arrays = {
        "context": stacked([drawing.context for drawing in drawings]),
        "conditions": stacked([drawing.conditions for drawing in drawings]),
        "indices": np.asarray([drawing.index for drawing in drawings]),
    }
    if drawings[0].negative_context is not None:
        arrays["negative_context"] = stacked([drawing.negative_context for drawing in drawings])
    return arrays


def stacked(trees: Sequence[Tree]) -> Tree:
    """Trees of arrays of the same shapes as one tree with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
