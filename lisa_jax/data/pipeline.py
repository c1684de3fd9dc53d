"""From a random access source to batches: the Grain pipeline.

Stable guarantee: the global batch is a function of (source, seed, step). The same seed and step give the same bytes on
every host, for any number of hosts, and whatever was read before; the position in the data is the step number and
nothing else. Process p of n holds the p-th of n contiguous blocks of the global batch's rows.

A source in buckets of sizes (`size_index`, as prepared data sets have it) gives batches of one bucket each.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import grain
import numpy as np

from lisa_jax.data.bucket_schedule import BucketSchedule
from lisa_jax.data.conditions.registry import get_condition

Example = dict[str, Any]
Transform = Callable[[Example], Example]
# An example -> its condition, or its conditions by name.
MakeCondition = Callable[[Mapping[str, Any]], Any]

_MAX_SEED = 2**32


class Source(Protocol):
    """What `Batches` reads: examples by index, with `caption`, `category` and what the condition needs.

    Each has `image` or, encoded already, `moments`; it may have `context`. A source whose examples differ in size has
    an attribute `size_index`, an int array that gives the bucket of each example; one whose examples are encoded names
    what is in an attribute `cached`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class Batches:
    """Shuffled training batches, endless, by step number.

    Every epoch is another permutation of the source; a batch may span two epochs, so no example is ever dropped. With
    buckets, every bucket has its own permutations, and a remainder waits for the next epoch: see BucketSchedule.

    A batch is a dict of this process's rows, b = batch_size / process_count of them:
    `image` uint8 (b, H, W, 3) or `moments` (b, h, w, m), `context` (b, length, width) where the source has it,
    `condition` uint8 (b, H, W, 3) or a dict of such, `caption` list of b str, `category` int32 (b,), and `index` int32
    (b,), the row of each example in the source. Whatever `transforms` add or change is stacked likewise.
    """

    def __init__(
        self,
        source: Source,
        condition: str | MakeCondition | None,
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
          condition: the name of a condition (see `data.conditions`), or a function from an example to its
            condition or a dict of conditions; None: batches without `condition`.
          batch_size: rows of the *global* batch.
          seed: 0 to 2**32 - 1; decides the order and the flips.
          flip: mirror half of the examples left to right, image and condition together; not for cached moments, which
            are of the image as it was.
          transforms: functions from example to example, run on each example last and in this order. They must be
            deterministic for the guarantee above to hold.
          process_index: which block of rows this process gets.
          process_count: the number of blocks.

        Raises:
          ValueError: the source is empty, the seed is out of range, batch_size does not divide by process_count, flips
            are asked of cached moments, ...
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
        if flip and "moments" in getattr(source, "cached", ()):
            raise ValueError(
                f"{source!r} holds cached moments, which cannot be mirrored: set flip to False, or prepare the data "
                "set with --cache=none or --cache=context."
            )
        load = _loader(source, condition)

        def stream(rows: grain.MapDataset, seed: int) -> grain.MapDataset:
            examples = rows.seed(seed).shuffle().repeat().map(load)
            return examples.random_map(_random_flip) if flip else examples

        buckets = _buckets(source)
        if len(buckets) == 1:
            examples = stream(grain.MapDataset.range(len(source)), seed)

            def stream_at(step: int) -> tuple[grain.MapDataset, int]:
                return examples, step * batch_size
        else:
            streams = [
                stream(grain.MapDataset.source(bucket), _seed_of_bucket(seed, number))
                for number, bucket in enumerate(buckets)
            ]
            schedule = BucketSchedule([len(bucket) for bucket in buckets], batch_size, seed)

            def stream_at(step: int) -> tuple[grain.MapDataset, int]:
                bucket, number = schedule.at(step)
                return streams[bucket], number * batch_size

        rows = batch_size // process_count
        # Rows are picked after everything random, which is thus drawn per position in the global batch; what other
        # processes get is never loaded.
        local = _LocalBatches(stream_at, process_index * rows, rows, transforms)
        self._batches = grain.MapDataset.source(local)

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
    condition: str | MakeCondition | None,
    batch_size: int,
    *,
    transforms: Sequence[Transform] = (),
    threads: int = 4,
    prefetch: int = 4,
) -> Iterator[dict[str, Any]]:
    """Each example of the source once, in its own order, for evaluation; the last batch may be smaller.

    Batches are those of `Batches`. With buckets, one bucket comes after the other, each in the source's order, and the
    last batch of each may be smaller. ValueError when the source is empty or batch_size is not positive.
    """
    _check_not_empty(source)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be positive.")
    batches = _OrderedBatches(_buckets(source), batch_size, _loader(source, condition), transforms)
    return iter(grain.MapDataset.source(batches).to_iter_dataset(_read_options(threads, prefetch)))


class _LocalBatches:
    """The batches of one process by step: of each global batch, `rows` examples from the `first_row`-th on."""

    def __init__(
        self,
        stream_at: Callable[[int], tuple[grain.MapDataset, int]],
        first_row: int,
        rows: int,
        transforms: Sequence[Transform],
    ):
        self._stream_at = stream_at
        self._first_row = first_row
        self._rows = rows
        self._transforms = transforms

    def __len__(self) -> int:
        # A step times a batch size must still be an index.
        return sys.maxsize // 2**32

    def __getitem__(self, step: int) -> dict[str, Any]:
        examples, start = self._stream_at(int(step))
        first = start + self._first_row
        loaded = (examples[position] for position in range(first, first + self._rows))
        return _stack(_transformed(loaded, self._transforms), self._rows)


class _OrderedBatches:
    """Each bucket's rows in order, in batches that may be smaller at the end of a bucket."""

    def __init__(
        self,
        buckets: Sequence[Sequence[int]],
        batch_size: int,
        load: Callable[[int], Example],
        transforms: Sequence[Transform],
    ):
        self._batches = [
            bucket[start : start + batch_size] for bucket in buckets for start in range(0, len(bucket), batch_size)
        ]
        self._load = load
        self._transforms = transforms

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, Any]:
        rows = self._batches[number]
        return _stack(_transformed(map(self._load, rows), self._transforms), len(rows))


def _buckets(source: Source) -> list[Sequence[int]]:
    """The rows of each bucket that has any; one bucket of all rows where the source has no sizes."""
    size_index = getattr(source, "size_index", None)
    if size_index is None:
        return [range(len(source))]
    return [np.flatnonzero(size_index == size) for size in np.unique(size_index)]


def _seed_of_bucket(seed: int, bucket: int) -> int:
    return int(np.random.SeedSequence((seed, bucket)).generate_state(1)[0])


def _loader(source: Source, condition: str | MakeCondition | None) -> Callable[[int], Example]:
    make_condition = get_condition(condition) if isinstance(condition, str) else condition

    def load(index: int) -> Example:
        example = source[int(index)]
        found = {name: example[name] for name in ("image", "moments", "context") if name in example}
        if make_condition is not None:
            found["condition"] = make_condition(example)
        return found | {
            "caption": example["caption"],
            "category": int(example["category"]),
            "index": int(index),
        }

    return load


def _random_flip(example: Example, rng: np.random.Generator) -> Example:
    if rng.random() < 0.5:
        return example
    return example | {name: _mirror(example[name]) for name in ("image", "condition") if name in example}


def _mirror(pictures: Any) -> Any:
    if isinstance(pictures, Mapping):
        return {name: _mirror(picture) for name, picture in pictures.items()}
    return pictures[:, ::-1]


def _transformed(examples: Iterable[Example], transforms: Sequence[Transform]) -> Iterator[Example]:
    for example in examples:
        for transform in transforms:
            example = transform(example)
        yield example


def _stack(examples: Iterable[Example], size: int) -> dict[str, Any]:
    """A batch of `size` examples; each is copied into it as it comes, so that its memory serves the next one."""
    batch: dict[str, Any] = {}
    for row, example in enumerate(examples):
        if not batch:
            batch = {name: _room(value, size) for name, value in example.items()}
        for name, value in example.items():
            _put(batch[name], row, value, name)
    return batch


def _room(value: Any, size: int) -> Any:
    if isinstance(value, str):
        return []
    if isinstance(value, Mapping):
        return {name: _room(part, size) for name, part in value.items()}
    if isinstance(value, int):
        return np.empty(size, np.int32)
    return np.empty((size, *value.shape), value.dtype)


def _put(room: Any, row: int, value: Any, name: str) -> None:
    if isinstance(room, list):
        room.append(value)
    elif isinstance(room, Mapping):
        for part, value_of_part in value.items():
            _put(room[part], row, value_of_part, f"{name} {part!r}")
    elif room.shape[1:] != np.shape(value):
        raise ValueError(
            f"Examples of one batch differ in shape: {name} is {np.shape(value)} after {room.shape[1:]}; prepare the "
            "data in one size, or in buckets."
        )
    else:
        room[row] = value


def _read_options(threads: int, prefetch: int) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)


def _check_not_empty(source: Source) -> None:
    if len(source) == 0:
        raise ValueError(f"The source {source!r} holds no examples.")


def _check_step(step: int) -> None:
    if step < 0:
        raise ValueError(f"The step is {step}, but steps count from 0.")
