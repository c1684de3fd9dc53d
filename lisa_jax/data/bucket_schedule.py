"""Which bucket each step draws its batch from, and which of the bucket's batches it is."""

import functools
from collections.abc import Sequence

import numpy as np


class BucketSchedule:
    """Steps to (bucket, batch of that bucket), as a pure function of (counts, batch_size, seed, step).

    Every bucket has its own endless stream of examples, one permutation after the other, cut into batches of
    `batch_size`. Epoch e (0, 1, ...) serves those batches of a bucket of n examples that end within the first
    (e + 1) * n examples of its stream and have not been served before, in an order of buckets shuffled anew each epoch.
    What does not fill a batch is thus carried over: it comes first in the next epoch's batches. No example is ever
    dropped, and none is seen a second time before all of its bucket were seen once.
    """

    def __init__(self, counts: Sequence[int], batch_size: int, seed: int):
        self._counts = [int(count) for count in counts]
        self._batch_size = batch_size
        self._seed = seed
        # A few epochs are in use at a time: those that are read ahead.
        self._order = functools.lru_cache(maxsize=4)(self._order_of_epoch)

    def at(self, step: int) -> tuple[int, int]:
        """(bucket, number of the batch in the bucket's stream) of a step, O(log steps)."""
        low, high = 0, 1
        while self._steps_before(high) <= step:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._steps_before(middle) <= step else (low, middle)
        buckets, numbers = self._order(low)
        place = step - self._steps_before(low)
        return int(buckets[place]), int(numbers[place])

    def _batches_before(self, epoch: int) -> list[int]:
        return [epoch * count // self._batch_size for count in self._counts]

    def _steps_before(self, epoch: int) -> int:
        return sum(self._batches_before(epoch))

    def _order_of_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = self._batches_before(epoch), self._batches_before(epoch + 1)
        buckets = np.repeat(np.arange(len(first), dtype=np.int32), np.subtract(last, first))
        np.random.default_rng((self._seed, epoch)).shuffle(buckets)
        numbers = np.empty(len(buckets), np.int64)
        for bucket, (start, stop) in enumerate(zip(first, last, strict=True)):
            numbers[buckets == bucket] = np.arange(start, stop)
        return buckets, numbers
