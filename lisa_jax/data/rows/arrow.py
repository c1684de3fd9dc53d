"""Rows of Arrow files, as `save_to_disk` of the library `datasets` writes them."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lisa_jax.data.rows.cells import check_columns, column_names, row_of
from lisa_jax.data.rows.row import Columns, Row, RowError, check_index, fingerprint_of, names_and_sizes
from lisa_jax.data.rows.usual_columns import usual_columns
from lisa_jax.files.home import expanded
from lisa_jax.files.json_object import JsonError, read_object
from lisa_jax.files.regular_file import IrregularFileError, check_regular
from lisa_jax.parallel.messages import one_line

_LOG = logging.getLogger("lisa_jax")
STATE = "state.json"
SPLITS = "dataset_dict.json"


class ArrowRows:
    """Rows of the Arrow files that `state.json` of a folder lists, in its order; see `Rows`.

    The files are mapped into memory, not read. Pictures are as in `ParquetRows`.
    """

    def __init__(self, location: str, columns: Columns, allow_outside: bool = False):
        """Reads the schemas of all files.

        Args:
          location: the folder of a data set, or of one with several splits, of which `train` is taken, or the only one.
          columns: the names of the columns.
          allow_outside: whether cells may name pictures outside of the folder.

        Raises:
          ValueError: there is no such folder, its state is damaged, or it has several splits and none is `train`.
          RowError: a file is missing or no Arrow stream, or lacks a column.
        """
        self._location = location
        self._allow_outside = allow_outside
        self._folder = _split_folder(expanded(location))
        self._files = _listed_files(self._folder)
        self._tables = [_mapped(file) for file in self._files]
        # By the first file, which the others have to be like.
        columns = usual_columns(columns, column_names(self._tables[0].schema), self._files[0].name)
        for file, table in zip(self._files, self._tables, strict=True):
            check_columns(table.schema, columns, file.name)
        self._columns = columns
        self._starts = np.cumsum([0, *map(len, self._tables)])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_tables"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._tables = [_mapped(file) for file in self._files]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"ArrowRows({self._location!r}, {len(self._files)} files, {len(self)} rows)"

    def fingerprint(self) -> str:
        return fingerprint_of("arrow", names_and_sizes(self._files, self._folder), self._columns)

    def __getitem__(self, index: int) -> Row:
        index = check_index(index, len(self), self)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        table, row = self._tables[number], index - int(self._starts[number])
        where = f"{self._files[number].name} row {row}"
        return row_of(table, row, self._columns, self._folder, self._allow_outside, where)


def _split_folder(folder: Path) -> Path:
    """The folder of one split: the folder itself, or below it that of `train`, or the only one."""
    if (folder / STATE).is_file():
        return folder
    if not (folder / SPLITS).is_file():
        raise ValueError(f"{str(folder)!r} holds neither {STATE} nor {SPLITS}: name a folder that save_to_disk wrote.")
    # What lies there counts, and not what the list says: folders of splits may be copied alone.
    splits = sorted(path.parent.name for path in folder.glob(f"*/{STATE}"))
    chosen = "train" if "train" in splits else splits[0] if len(splits) == 1 else None
    if chosen is None:
        there = ", ".join(splits) or "none"
        raise ValueError(f"{str(folder)!r} has no split train (there: {there}): name the folder of one.")
    _LOG.info("%s: the rows are those of %s (there: %s).", folder, chosen, ", ".join(splits))
    return folder / chosen


def _listed_files(folder: Path) -> list[Path]:
    path = folder / STATE
    try:
        state = read_object(path)
    except JsonError as error:
        raise ValueError(f"{error}: write the data set again.") from error
    if state.get("_indices_files"):
        raise ValueError(f"{str(path)!r} names indices, as old versions of datasets wrote them: write it anew.")
    listed = state.get("_data_files")
    names = [entry.get("filename") if isinstance(entry, dict) else None for entry in listed or []]
    if not isinstance(listed, list) or not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise ValueError(f"{str(path)!r} does not list the data set's files under _data_files: write it anew.")
    return [folder / name for name in names]


def _mapped(file: Path) -> pa.Table:
    try:
        check_regular(file)
        return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    except (IrregularFileError, pa.ArrowException, OSError, ValueError) as error:
        raise RowError(f"{file.name}: not a readable Arrow file ({one_line(error)}).") from error
