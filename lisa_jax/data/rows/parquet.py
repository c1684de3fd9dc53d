"""Rows of Parquet tables, as data hubs hold them."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lisa_jax.data.rows.cells import check_columns, column_names, row_of
from lisa_jax.data.rows.files import check_one_split, common_folder, matching_files
from lisa_jax.data.rows.parquet_pages import shared_bytes
from lisa_jax.data.rows.row import Columns, Row, RowError, check_index, fingerprint_of, names_and_sizes
from lisa_jax.data.rows.usual_columns import usual_columns
from lisa_jax.media.open_picture import MAX_BYTES
from lisa_jax.parallel.messages import one_line

# Rows decoded at once, and how many such windows are kept: threads that read a few rows out of order are served from
# memory, which holds at most _WINDOW * _KEPT_WINDOWS rows or _KEPT_BYTES, and a page of the file, however large the row
# groups are.
_WINDOW = 16
_WINDOW_BYTES = 2**28
_REPEATED_BYTES = 2**29
_KEPT_WINDOWS = 8
_KEPT_BYTES = 2**29
_OPEN_READERS = 2
_BUFFER_BYTES = 1 << 20


class _Group(NamedTuple):
    """A row group.

    Attributes:
      file: of which file.
      index: which one of that file.
      first_row_in_file: its first row.
      column_bytes: of the largest of the columns that are read, not compressed, as the footer has it.
      mean_cell: bytes of a cell of that column, on average.
    """

    file: int
    index: int
    first_row_in_file: int
    column_bytes: int
    mean_cell: int


class ParquetRows:
    """Rows of one or many Parquet files, in the order of the files' names; see `Rows`.

    A picture column is a struct with `bytes` or `path` (as `datasets.Image` writes it) or plain binary; columns inside
    of structs are named "outer.inner". Row groups are streamed page by page, so that reading in order is cheap and
    needs little memory even where a row group is gigabytes; going back by more than a few windows of rows reads a row
    group from its start. Safe to use from several threads.
    """

    def __init__(self, location: str | Sequence[Path], columns: Columns, allow_outside: bool = False):
        """Reads the footers of all files.

        Args:
          location: a file, a folder or a glob pattern; or the files themselves.
          columns: the names of the columns.
          allow_outside: whether cells may name pictures outside of their table's folder.

        Raises:
          ValueError: nothing is found, or a folder holds several splits (train, test, ...).
          RowError: a file is no Parquet file, or lacks a column.
        """
        self._location = location
        self._columns = columns
        self._allow_outside = allow_outside
        self._files = matching_files(location, ".parquet") if isinstance(location, str) else sorted(location)
        self._root = common_folder(self._files)
        if isinstance(location, str):
            check_one_split(self._files, location)
        groups: list[_Group] = []
        starts = [0]
        for file_index, file in enumerate(self._files):
            first_row = 0
            for index, (count, column_bytes) in enumerate(self._row_groups(file)):
                if count:
                    groups.append(_Group(file_index, index, first_row, column_bytes, column_bytes // count))
                    starts.append(starts[-1] + count)
                first_row += count
        self._groups = groups
        self._rows_at_once: dict[int, int] = {}
        self._starts = np.asarray(starts)
        self._open()

    def _open(self) -> None:
        self._lock = threading.Lock()
        self._windows: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._readers: OrderedDict[int, _Reader] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_windows", "_readers")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"ParquetRows({self._location!r}, {len(self._files)} files, {len(self)} rows)"

    def fingerprint(self) -> str:
        return fingerprint_of("parquet", names_and_sizes(self._files, self._root), self._columns)

    def __getitem__(self, index: int) -> Row:
        index = check_index(index, len(self), self)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        group, row = self._groups[number], index - int(self._starts[number])
        where = f"{self._name(self._files[group.file])} row {group.first_row_in_file + row}"
        if group.mean_cell > MAX_BYTES:
            raise RowError(
                f"{where}: the cells of its row group have {group.mean_cell:,} bytes on average, but more than "
                f"{MAX_BYTES:,} are refused."
            )
        try:
            with self._lock:
                at_once = self._window_rows(number)
                window = self._window(number, row // at_once)
        # A name in the schema that is not UTF-8 is a ValueError.
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RowError(f"{where}: cannot be read ({one_line(error)}).") from error
        folder = self._files[group.file].parent
        return row_of(window, row % at_once, self._columns, folder, self._allow_outside, where)

    def _window_rows(self, group: int) -> int:
        """Rows of a row group that are decoded at once: _WINDOW, or fewer where they may take much memory."""
        if group not in self._rows_at_once:
            place = self._groups[group]
            file = self._files[place.file]
            shared = [
                shared_bytes(file, chunk) for chunk in _chunks(pq.read_metadata(file), place.index, self._columns)
            ]
            # Cells differ in size, and those of one window may be the largest; more rarely all are the same.
            largest = max(4 * place.mean_cell, place.column_bytes // 64, 1)
            rows = min(_WINDOW_BYTES // largest, _REPEATED_BYTES // max(*shared, 1))
            self._rows_at_once[group] = int(np.clip(rows, 1, _WINDOW))
        return self._rows_at_once[group]

    def _window(self, group: int, number: int) -> pa.Table:
        """The given window of a row group, from memory or from its reader."""
        key = (group, number)
        if key not in self._windows:
            reader = self._readers.get(group)
            # The window may lie behind the stream, and have been dropped since.
            if reader is None or reader.next_window > number:
                self._readers[group] = reader = self._reader(group)
            self._readers.move_to_end(group)
            if len(self._readers) > _OPEN_READERS:
                self._readers.popitem(last=False)
            while key not in self._windows:
                self._drop_windows()
                try:
                    read, window = reader.read()
                except BaseException:
                    # A stream that broke off cannot go on: the next row starts anew and meets the same error.
                    del self._readers[group]
                    raise
                self._windows[group, read] = window
        self._windows.move_to_end(key)
        return self._windows[key]

    def _drop_windows(self) -> None:
        """Make room for one more."""
        rows = sum(map(len, self._windows.values()))
        size = sum(window.nbytes for window in self._windows.values())
        while rows > _WINDOW * (_KEPT_WINDOWS - 1) or size > _KEPT_BYTES:
            _, dropped = self._windows.popitem(last=False)
            rows, size = rows - len(dropped), size - dropped.nbytes

    def _reader(self, group: int) -> "_Reader":
        place = self._groups[group]
        return _Reader(self._files[place.file], place.index, self._columns.names(), self._window_rows(group))

    def _row_groups(self, file: Path) -> list[tuple[int, int]]:
        """Rows of each row group, and bytes of the largest of the columns that are read, not compressed."""
        try:
            with pq.ParquetFile(file) as parquet:
                schema, footer = parquet.schema_arrow, parquet.metadata
                # By the first file, which the others have to be like.
                if file == self._files[0]:
                    self._columns = usual_columns(self._columns, column_names(schema), self._name(file))
                check_columns(schema, self._columns, self._name(file))
                return [
                    (footer.row_group(index).num_rows, self._largest_column(footer, index))
                    for index in range(footer.num_row_groups)
                ]
        except RowError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RowError(f"{self._name(file)}: not a readable Parquet file ({one_line(error)}).") from error

    def _largest_column(self, footer: pq.FileMetaData, row_group: int) -> int:
        # Empty values take no bytes, but room.
        chunks = _chunks(footer, row_group, self._columns)
        return max(max(chunk.total_uncompressed_size, chunk.num_values) for chunk in chunks)

    def _name(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()


class _Reader:
    """The windows of one row group, in order."""

    def __init__(self, file: Path, row_group: int, columns: list[str], window: int):
        # A buffered stream holds one page at a time; pyarrow's defaults would read the whole row group ahead.
        self._file = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        self._batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            batch_size=window, row_groups=[row_group], columns=columns, use_threads=False
        )
        self._window = window
        self.next_window = 0

    def read(self) -> tuple[int, pa.Table]:
        """The number of the next window and its rows; fewer at the end of the row group only."""
        batches: list[pa.RecordBatch] = []
        # Batches may come smaller than asked for where a column is stored in several chunks.
        while (missing := self._window - sum(map(len, batches))) and (batch := next(self._batches, None)) is not None:
            assert len(batch) <= missing
            batches.append(batch)
        if not batches:
            raise OSError("the row group ends early")
        self.next_window += 1
        return self.next_window - 1, pa.Table.from_batches(batches)


def _chunks(footer: pq.FileMetaData, row_group: int, columns: Columns) -> list[pq.ColumnChunkMetaData]:
    """The column chunks of a row group that are read for these columns, those inside of structs among them."""
    read = {column.split(".")[0] for column in columns.names()} | set(columns.names())
    group = footer.row_group(row_group)
    chunks = [group.column(index) for index in range(group.num_columns)]
    return [chunk for chunk in chunks if {chunk.path_in_schema, chunk.path_in_schema.split(".")[0]} & read]
