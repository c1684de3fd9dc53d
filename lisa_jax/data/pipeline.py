"""From a random access source to batches: the Grain pipeline.

Stable guarantee: the global batch is a function of (source, seed, step). The same seed and step give the same bytes on
every host, for any number of hosts, and whatever was read before; the position in the data is the step number and
nothing else. Process p of n holds the p-th of n contiguous blocks of the global batch's rows.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import grain
import numpy as np

from lisa_jax.data.conditions import Condition, get_condition

Example = dict[str, Any]
Transform = Callable[[Example], Example]

_MAX_SEED = 2**32


class Source(Protocol):
    """What `Batches` reads: examples by index, with `image`, `caption`, `category` and what the condition needs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class Batches:
    """Shuffled training batches, endless, by step number.

    Every epoch is another permutation of the source; a batch may span two epochs, so no example is ever dropped.

    A batch is a dict of this process's rows, b = batch_size / process_count of them:
    `image` and `condition` uint8 (b, H, W, 3), `caption` list of b str, `category` int32 (b,), `index` int32 (b,): the
    row of each example in the source. Whatever `transforms` add or change is stacked likewise.
    """

    def __init__(
        self,
        source: Source,
        condition: str | Condition | None,
        batch_size: int,
        seed: int,
        *,
        flip: bool = False,
        transforms: Sequence[Transform] = (),
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Sets up the pipeline; reads nothing yet.

        Args:
          source: the examples.
          condition: the name of a condition (see lisa_jax.data.conditions), or the function itself; None: batches
            without `condition`.
          batch_size: rows of the *global* batch.
          seed: 0 to 2**32 - 1; decides the order and the flips.
          flip: mirror half of the examples left to right, image and condition together.
          transforms: functions from example to example, run on each example last and in this order. They must be
            deterministic for the guarantee above to hold.
          process_index: which block of rows this process gets.
          process_count: the number of blocks.

        Raises:
          ValueError: the source is empty, the seed is out of range, batch_size does not divide by process_count, ...
        """
        _check_not_empty(source)
        if not 0 <= seed < _MAX_SEED:
            raise ValueError(f"seed is {seed}, but must be between 0 and {_MAX_SEED - 1}.")
        if not 0 <= process_index < process_count:
            raise ValueError(f"process_index is {process_index}, but must be between 0 and {process_count - 1}.")
        if batch_size < 1 or batch_size % process_count:
            raise ValueError(
                f"batch_size is {batch_size}, but must be a positive multiple of the {process_count} processes."
            )
        examples = grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat()
        examples = examples.map(_loader(source, condition))
        if flip:
            examples = examples.random_map(_random_flip)
        # Rows are picked after everything random, which is thus drawn per position in the global batch; what other
        # processes get is never loaded.
        local = grain.MapDataset.source(_LocalRows(examples, batch_size, process_index, process_count))
        self._batches = _batch(local, transforms, batch_size // process_count)

    def batch_at(self, step: int) -> dict[str, Any]:
        """This process's rows of the global batch of `step` (0, 1, ...): O(1), independent of other calls."""
        _check_step(step)
        return self._batches[step]

    def iterate(self, start_step: int = 0, *, threads: int = 4, prefetch: int = 4) -> Iterator[dict[str, Any]]:
        """batch_at(start_step), batch_at(start_step + 1), ... without end, read ahead by threads.

        Args:
          start_step: the step of the first batch; starting late costs nothing.
          threads: how many batches are prepared at the same time.
          prefetch: how many finished batches may wait in memory.
        """
        _check_step(start_step)
        return iter(self._batches[start_step:].to_iter_dataset(_read_options(threads, prefetch)))


def ordered_batches(
    source: Source,
    condition: str | Condition,
    batch_size: int,
    *,
    transforms: Sequence[Transform] = (),
    threads: int = 4,
    prefetch: int = 4,
) -> Iterator[dict[str, Any]]:
    """Each example of the source once, in its own order, for evaluation; the last batch may be smaller.

    Batches are those of `Batches`. ValueError when the source is empty or batch_size is not positive.
    """
    _check_not_empty(source)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be positive.")
    examples = grain.MapDataset.range(len(source)).map(_loader(source, condition))
    return iter(_batch(examples, transforms, batch_size).to_iter_dataset(_read_options(threads, prefetch)))


class _LocalRows:
    """The rows of one process: from each run of batch_size examples, the process_index-th contiguous block."""

    def __init__(self, examples: grain.MapDataset, batch_size: int, process_index: int, process_count: int):
        self._examples = examples
        self._batch_size = batch_size
        self._rows = batch_size // process_count
        self._first_row = process_index * self._rows

    def __len__(self) -> int:
        return sys.maxsize // self._batch_size * self._rows

    def __getitem__(self, index: int) -> Example:
        step, row = divmod(int(index), self._rows)
        return self._examples[step * self._batch_size + self._first_row + row]


def _loader(source: Source, condition: str | Condition | None) -> Callable[[int], Example]:
    make_condition = get_condition(condition) if isinstance(condition, str) else condition

    def load(index: int) -> Example:
        example = source[int(index)]
        pictures = {"image": example["image"]}
        if make_condition is not None:
            pictures["condition"] = make_condition(example)
        return pictures | {
            "caption": example["caption"],
            "category": int(example["category"]),
            "index": int(index),
        }

    return load


def _random_flip(example: Example, rng: np.random.Generator) -> Example:
    if rng.random() < 0.5:
        return example
    return example | {name: example[name][:, ::-1] for name in ("image", "condition") if name in example}


def _batch(examples: grain.MapDataset, transforms: Sequence[Transform], size: int) -> grain.MapDataset:
    for transform in transforms:
        examples = examples.map(transform)
    return examples.batch(size, batch_fn=_stack)


def _stack(examples: Sequence[Example]) -> dict[str, Any]:
    return {name: _stack_values([example[name] for example in examples]) for name in examples[0]}


def _stack_values(values: list[Any]) -> Any:
    if isinstance(values[0], str):
        return values
    if isinstance(values[0], int):
        return np.asarray(values, np.int32)
    return np.stack(values)


def _read_options(threads: int, prefetch: int) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)


def _check_not_empty(source: Source) -> None:
    if len(source) == 0:
        raise ValueError(f"The source {source!r} holds no examples.")


def _check_step(step: int) -> None:
    if step < 0:
        raise ValueError(f"The step is {step}, but steps count from 0.")
