"""From a random access source to batches: the Grain pipeline.

Stable guarantee: the global batch is a function of (source, seed, step). The same seed and step give the same bytes on
every host, for any number of hosts, and whatever was read before; the position in the data is the step number and
nothing else. Process p of n holds the p-th of n contiguous blocks of the global batch's rows.

A source in buckets of sizes (`size_index`, as prepared data sets have it) gives batches of one bucket each.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import grain
import numpy as np

from lisa_jax.data.bucket_schedule import BucketSchedule

Tree = Any
# An example of a source -> its inputs, a tree of arrays, which reaches the training step as it is.
MakeInputs = Callable[[Mapping[str, Any]], Mapping[str, Tree]]
# What a batch stacks of an example: its `index`, its `caption`, and its `inputs`.
Loaded = dict[str, Any]

_MAX_SEED = 2**32


class Source(Protocol):
    """What `Batches` reads: examples by index, mappings with a `caption` and whatever their inputs are made of.

    An example with several captions has the first, and `others`: for each further one a mapping of what it changes.
    A source whose examples differ in size has an attribute `size_index`, an int array that gives the bucket of each.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


class Batches:
    """Shuffled training batches, endless, by step number.

    Every epoch is another permutation of the source; a batch may span two epochs, so no example is ever dropped. With
    buckets, every bucket has its own permutations, and a remainder waits for the next epoch: see BucketSchedule.
    Of an example with several captions each step draws one anew.

    A batch is a dict of this JAX process's rows, b = batch_size / process_count of them: `index` int32 (b,), the place
    of each example in the source; `caption`, a list of b str; and `inputs`, the examples' inputs as one tree of arrays
    (b, ...).
    """

    def __init__(
        self,
        source: Source,
        make_inputs: MakeInputs,
        batch_size: int,
        seed: int,
        *,
        make_mirrored: MakeInputs | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Sets up the pipeline; reads nothing yet.

        Args:
          source: the examples.
          make_inputs: from an example, with its `index`, to its inputs; deterministic, for the guarantee above to hold.
          batch_size: rows of the *global* batch.
          seed: 0 to 2**32 - 1; decides the order, which examples are mirrored, and the captions.
          make_mirrored: the same with left and right exchanged, taken of half of the examples; None: of none.
          process_index: which block of rows this process gets.
          process_count: the number of blocks.

        Raises:
          ValueError: the source is empty, the seed is out of range, or batch_size does not divide by process_count.
        """
        _check_not_empty(source)
        if not 0 <= seed < _MAX_SEED:
            raise ValueError(f"seed is {seed}, but must be between 0 and {_MAX_SEED - 1}.")
        if not 0 <= process_index < process_count:
            raise ValueError(f"process_index is {process_index}, but must be between 0 and {process_count - 1}.")
        _check_batch_size(batch_size, process_count)

        def stream(rows: grain.MapDataset, seed: int) -> grain.MapDataset:
            examples = rows.seed(seed).shuffle().repeat().map_with_index(partial(_drawn, source, seed))
            if make_mirrored is None:
                return examples.map(partial(_loaded, make_inputs))
            return examples.random_map(partial(_loaded_half_mirrored, make_inputs, make_mirrored))

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
        local = _LocalBatches(stream_at, process_index * rows, rows)
        self._batches = grain.MapDataset.source(local)

    def batch_at(self, step: int) -> dict[str, Any]:
        """This JAX process's rows of the global batch of `step` (0, 1, ...): O(1), independent of other calls."""
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


def ordered_batches(source: Source, make_inputs: MakeInputs, batch_size: int) -> Iterator[dict[str, Any]]:
    """Each example of the source once, in its own order, for evaluation; the last batch may be smaller.

    Of several captions the first is taken.

    Batches are those of `Batches`. With buckets, one bucket comes after the other, each in the source's order, and the
    last batch of each may be smaller. ValueError when the source is empty or batch_size is not positive.
    """
    _check_not_empty(source)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but must be positive.")
    batches = _OrderedBatches(_buckets(source), batch_size, partial(_load, source, make_inputs))
    return iter(grain.MapDataset.source(batches).to_iter_dataset(_read_options()))


class _LocalBatches:
    """The batches of one JAX process by step: of each global batch, `rows` examples from the `first_row`-th on."""

    def __init__(
        self,
        stream_at: Callable[[int], tuple[grain.MapDataset, int]],
        first_row: int,
        rows: int,
    ):
        self._stream_at = stream_at
        self._first_row = first_row
        self._rows = rows

    def __len__(self) -> int:
        # A step times a batch size must still be an index.
        return sys.maxsize // 2**32

    def __getitem__(self, step: int) -> dict[str, Any]:
        examples, start = self._stream_at(int(step))
        first = start + self._first_row
        loaded = (examples[position] for position in range(first, first + self._rows))
        return _stack(loaded, self._rows)


class _OrderedBatches:
    """Each bucket's rows in order, in batches that may be smaller at the end of a bucket."""

    def __init__(self, buckets: Sequence[Sequence[int]], batch_size: int, load: Callable[[int], Loaded]):
        self._batches = [
            bucket[start : start + batch_size] for bucket in buckets for start in range(0, len(bucket), batch_size)
        ]
        self._load = load

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> dict[str, Any]:
        rows = self._batches[number]
        return _stack(map(self._load, rows), len(rows))


def _buckets(source: Source) -> list[Sequence[int]]:
    """The rows of each bucket that has any; one bucket of all rows where the source has no sizes."""
    size_index = getattr(source, "size_index", None)
    if size_index is None:
        return [range(len(source))]
    return [np.flatnonzero(size_index == size) for size in np.unique(size_index)]


def _seed_of_bucket(seed: int, bucket: int) -> int:
    return int(np.random.SeedSequence((seed, bucket)).generate_state(1)[0])


def _load(source: Source, make_inputs: MakeInputs, index: int) -> Loaded:
    """An example with its first caption."""
    return _loaded(make_inputs, {**source[int(index)], "index": int(index)})


def _drawn(source: Source, seed: int, position: int, index: int) -> Mapping[str, Any]:
    """An example with one of its captions, drawn by its position in the endless stream of a seed."""
    example = source[int(index)]
    if others := example.get("others", ()):
        captions = ({}, *others)
        # Not by Grain, whose draws for what comes after would be others.
        drawn = captions[np.random.default_rng((seed, position)).integers(len(captions))]
        example = {**example, **drawn}
    return {**example, "index": int(index)}


def _loaded(make_inputs: MakeInputs, example: Mapping[str, Any]) -> Loaded:
    return {"index": example["index"], "caption": example["caption"], "inputs": make_inputs(example)}


def _loaded_half_mirrored(
    make_inputs: MakeInputs, make_mirrored: MakeInputs, example: Mapping[str, Any], rng: np.random.Generator
) -> Loaded:
    return _loaded(make_inputs if rng.random() < 0.5 else make_mirrored, example)


def _stack(rows: Iterable[Loaded], size: int) -> dict[str, Any]:
    """A batch of `size` rows; each is copied into it as it comes, so that its memory serves the next one."""
    batch: dict[str, Any] = {}
    for number, row in enumerate(rows):
        batch = batch or _room(row, size)
        _put(batch, number, row, "")
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
            _put(room[part], row, value_of_part, f"{name}/{part}".lstrip("/"))
    elif room.shape[1:] != np.shape(value):
        raise ValueError(
            f"Examples of one batch differ in shape: {name} is {np.shape(value)} after {room.shape[1:]}; prepare the "
            "data in one size, or in buckets."
        )
    else:
        room[row] = value


def _read_options(threads: int = 4, prefetch: int = 4) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)


def _check_batch_size(batch_size: int, process_count: int) -> None:
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size is {batch_size}, but must be a positive multiple of the {process_count} processes."
        )


def _check_not_empty(source: Source) -> None:
    if len(source) == 0:
        raise ValueError(f"The source {source!r} holds no examples.")


def _check_step(step: int) -> None:
    if step < 0:
        raise ValueError(f"The step is {step}, but steps count from 0.")
