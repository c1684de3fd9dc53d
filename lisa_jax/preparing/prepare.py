"""The work itself: rows to shards, a chunk of rows at a time, with workers ahead of the encoder and bounded memory."""

import dataclasses
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lisa_jax.data.prepared.layout import features_of
from lisa_jax.data.prepared.metadata import Metadata
from lisa_jax.data.rows import Row, RowError, Rows
from lisa_jax.families.conditioner import ENCODE_BATCH
from lisa_jax.media.channels import RGB
from lisa_jax.media.image import IMAGE
from lisa_jax.media.open_picture import PictureError
from lisa_jax.preparing.encoding import Encoding, batch_encoder, batches_of_one_size, with_contexts, with_cuts_noted
from lisa_jax.preparing.images import ConditionedImage, ImageMaker
from lisa_jax.preparing.report import REPORT_FILE, Note, Skipped
from lisa_jax.preparing.small_splits import warn_of_empty_splits
from lisa_jax.preparing.writer import WorkFolder

_LOG = logging.getLogger("lisa_jax")

# Rows that are read before they are needed, for each worker, and how many bytes of pictures all of them may hold.
READ_AHEAD = 4
READ_AHEAD_BYTES = 2**29


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything that decides what is written, except the rows themselves.

    Attributes:
      make_image: from a row to an image, or a clip, with its conditions.
      encoding: what is cached.
      chunk_rows: rows of the source that share a shard; what a kill can cost.
      skip_bad_rows: leave out rows that cannot be used, and report them; else the first one ends the work.
      settings: what a continued preparation must share with the one it continues.
    """

    make_image: ImageMaker
    encoding: Encoding
    chunk_rows: int
    skip_bad_rows: bool
    settings: dict[str, Any]


def prepare(rows: Rows, task: Task, out: str | Path, *, workers: int) -> Metadata:
    """Prepare a data set, or continue where a killed process left it; the result is the same to the bit.

    Args:
      rows: the source.
      task: what to make of it.
      out: folder that appears when everything is done; until then work is in `<out>.partial`.
      workers: threads that decode, resize and compute conditions.

    Returns:
      what was written.
    Raises:
      RowError, PictureError: a row that cannot be used, with file and row, unless they are skipped.
      ValueError: no row could be used, or `out` was begun with other settings.
    """
    work = WorkFolder(out, task.settings)
    if work.finished:
        _LOG.info("%s is there already, prepared with the same settings from the same source.", out)
        return Metadata.read(Path(out))
    warn_of_empty_splits(rows, task.make_image.test_fraction)
    chunks = [range(start, min(start + task.chunk_rows, len(rows))) for start in range(0, len(rows), task.chunk_rows)]
    missing = [index for index in range(len(chunks)) if not work.chunk_done(index)]
    total = sum(len(chunks[index]) for index in missing)
    metadata, empty_context = _metadata(task), task.encoding.empty_context()
    encode = batch_encoder(task.encoding)
    # Clips wait for their contexts in memory.
    block = ENCODE_BATCH if task.make_image.medium is IMAGE else task.encoding.batch_size
    started = time.monotonic()
    with (
        tqdm(total=len(rows), initial=len(rows) - total, unit=task.make_image.medium.unit, dynamic_ncols=True) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        results = _in_order(pool, rows, task, chain.from_iterable(chunks[index] for index in missing), workers)
        for index in missing:
            part = _Chunk(islice(results, len(chunks[index])), bar)
            writer = work.begin_chunk(index, metadata)
            notes: dict[str, list[str]] = {}
            images = with_cuts_noted(with_contexts(part, task.encoding.conditioner, block), task.encoding.cuts)
            for batch in batches_of_one_size(images, task.encoding.batch_size):
                for image, inputs in zip(batch, encode(batch), strict=True):
                    writer.write(image.split, image.size_index, image.caption, inputs, image.others())
                    for note in image.notes:
                        notes.setdefault(note, []).append(image.where)
            writer.close(part.skipped, [Note(note, tuple(where)) for note, where in notes.items()])
    metadata = work.finish(len(chunks), metadata, empty_context)
    _summarise(metadata, work.notes, Path(out), f"{task.make_image.medium.unit}s", total, time.monotonic() - started)
    return metadata


class _Chunk:
    """The usable images of a chunk; `skipped` holds its other rows once all are through."""

    def __init__(self, results: Iterable[ConditionedImage | Skipped], bar: tqdm):
        self._results = results
        self._bar = bar
        self.skipped: list[Skipped] = []

    def __iter__(self) -> Iterator[ConditionedImage]:
        for result in self._results:
            self._bar.update()
            if isinstance(result, Skipped):
                self.skipped.append(result)
            else:
                yield result


def _in_order(
    pool: ThreadPoolExecutor, rows: Rows, task: Task, order: Iterable[int], workers: int
) -> Iterator[ConditionedImage | Skipped]:
    """Results of the rows in their order, worked on a bounded number of rows ahead.

    Threads, for decoding, resizing and hashing release the interpreter lock. The rows themselves are read by the
    caller's thread: sources are read fastest in order.
    """
    pending: deque[Future] = deque()
    sizes: deque[int] = deque()

    def finish() -> ConditionedImage | Skipped:
        sizes.popleft()
        # Without a name, by which an error would keep itself alive, and with it the lock of the folder.
        return pending.popleft().result()

    try:
        for index in order:
            index, row = _read(rows, index)
            size = 0 if isinstance(row, RowError) else _bytes(row) + task.make_image.example_bytes
            while pending and sum(sizes) + size > READ_AHEAD_BYTES:
                yield finish()
            pending.append(pool.submit(_work, index, row, task))
            sizes.append(size)
            if len(pending) >= READ_AHEAD * workers:
                yield finish()
        while pending:
            yield finish()
    finally:
        for future in pending:
            future.cancel()


def _bytes(row: Row) -> int:
    pictures = [row.image, *row.conditions.values(), *row.extras.values()]
    return sum(memoryview(value).nbytes for value in pictures if isinstance(value, (bytes, np.ndarray)))


def _read(rows: Rows, index: int) -> tuple[int, Row | RowError]:
    try:
        return index, rows[index]
    except RowError as error:
        return index, error


def _work(index: int, row: Row | RowError, task: Task) -> ConditionedImage | Skipped:
    try:
        if isinstance(row, RowError):
            raise row
        return task.make_image(row)
    except (RowError, PictureError) as error:
        if task.skip_bad_rows:
            return Skipped.of(index, error)
        raise


def _metadata(task: Task) -> Metadata:
    maker = task.make_image
    channels = {name: maker.channels.get(name, RGB) for name in (*maker.given, *maker.computed)}
    return Metadata(
        sizes=maker.example_sizes,
        features=features_of([task.encoding.shapes(size, channels) for size in maker.example_sizes]),
        base=task.encoding.fingerprint,
        settings=task.settings,
        skipped=0,
        splits={},
    )


def _summarise(metadata: Metadata, notes: Sequence[Note], out: Path, what: str, rows: int, seconds: float) -> None:
    shards = [shard for shards in metadata.splits.values() for shard in shards]
    examples = sum(shard.examples for shard in shards)
    sides = ", ".join(f"{sum(shard.examples for shard in shards)} {split}" for split, shards in metadata.splits.items())
    _LOG.info(
        "%s: %s examples, %.1f kB each; %d rows in %.0f s, %.1f %s/s.",
        *(
            out,
            sides,
            sum(shard.bytes for shard in shards) / examples / 1000,
            rows,
            seconds,
            rows / max(seconds, 1e-9),
            what,
        ),
    )
    for note in notes:
        _LOG.warning("%d rows: %s. %s says which.", len(note.where), note.note, out / REPORT_FILE)
    if metadata.skipped:
        _LOG.warning("%d rows were skipped: %s says which and why.", metadata.skipped, out / REPORT_FILE)
