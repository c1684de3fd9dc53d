"""Rows of a folder of pictures with a table metadata.jsonl or metadata.csv beside them."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from lisa_jax.data.rows.row import Columns, Row, RowError, caption_of, check_index, fingerprint_of
from lisa_jax.data.rows.table_lines import table_lines

METADATA = ("metadata.jsonl", "metadata.csv")

_FILE_ENDINGS = ("_file_name", "_file")
_LINES_CHECKED = 100


class ImageFolderRows:
    """One row for each line of the metadata, in its order; pictures without a line are no rows. See `Rows`.

    The metadata names picture files relative to its folder, as `datasets`' ImageFolder does: the column `image` in the
    field `file_name`, `image_file_name`, `image_file` or `image`, any other picture column x in `x_file_name`, `x_file`
    or `x`. A line that cannot be read is a row of its own that raises RowError.
    """

    def __init__(self, location: str, columns: Columns):
        """Reads the metadata, but no picture.

        Args:
          location: the folder.
          columns: the names of the columns.

        Raises:
          ValueError: the folder has no metadata, or both kinds.
          RowError: a column is in none of the first hundred lines.
        """
        self._location = location
        self._columns = columns
        self._folder = Path(location).expanduser()
        found = [self._folder / name for name in METADATA if (self._folder / name).is_file()]
        if len(found) != 1:
            raise ValueError(
                f"{location!r} must hold one of {' and '.join(METADATA)}, but holds {'both' if found else 'neither'}."
            )
        self._metadata = found[0]
        # An Arrow array takes a fraction of what Python objects would, and is handed to worker processes quickly.
        self._lines = pa.array([text for _, text in table_lines(self._metadata)], pa.large_string())
        self._check_columns()

    def __len__(self) -> int:
        return len(self._lines)

    def __repr__(self) -> str:
        return f"ImageFolderRows({self._location!r}, {len(self)} rows)"

    def fingerprint(self) -> str:
        """A hash of the metadata's content, which holds the pictures' names, and of the columns."""
        digest = hashlib.sha256(self._metadata.read_bytes()).hexdigest()
        return fingerprint_of("folder", [(self._metadata.name, digest)], self._columns)

    def __getitem__(self, index: int) -> Row:
        index = check_index(index, len(self), self)
        where = f"{self._metadata.name} row {index}"
        fields = self._fields(index, where)
        columns = self._columns

        def picture(column: str) -> bytes:
            name = self._value(fields, column, where, picture=True)
            if not isinstance(name, str) or not name:
                raise RowError(f"{where}: the file name of {column!r} is empty.")
            try:
                return (self._folder / name).read_bytes()
            except OSError as error:
                raise RowError(f"{where}: {name!r} of {column!r} cannot be read ({error.strerror}).") from error

        return Row(
            where=where,
            image=picture(columns.image),
            conditions={name: picture(column) for name, column in columns.conditions.items()},
            caption=caption_of(self._value(fields, columns.caption, where), columns.caption, where),
            extras={name: self._extra(fields, column, where, picture) for name, column in columns.extras.items()},
        )

    def _extra(self, fields: Mapping[str, Any], column: str, where: str, picture: Callable[[str], bytes]) -> Any:
        """The contents of the file where the field's name ends in `_file_name` or `_file`, else the value."""
        is_file = column.endswith(_FILE_ENDINGS) or any(column + ending in fields for ending in _FILE_ENDINGS)
        return picture(column) if is_file else self._value(fields, column, where)

    def _value(self, fields: Mapping[str, Any], column: str, where: str, picture: bool = False) -> Any:
        for name in _picture_fields(column) if picture else (column,):
            if name in fields:
                return fields[name]
        raise RowError(f"{where}: there is no {column!r}; the fields are {list(fields)}.")

    def _fields(self, index: int, where: str) -> dict[str, Any]:
        try:
            fields = json.loads(self._lines[index].as_py())
        except json.JSONDecodeError as error:
            raise RowError(f"{where}: the line is not JSON ({error}).") from error
        if not isinstance(fields, dict):
            raise RowError(f"{where}: the line is no record ({str(fields)[:100]}).")
        return fields

    def _check_columns(self) -> None:
        """Fails early, before any work is done, where the columns have other names."""
        fields: dict[str, Any] = {}
        for index in range(min(len(self), _LINES_CHECKED)):
            # A damaged line is an error of its own row only.
            with contextlib.suppress(RowError):
                fields |= self._fields(index, "")
        if not fields:
            return
        for column in (*self._columns.pictures(), *self._columns.extras.values()):
            self._value(fields, column, self._metadata.name, picture=True)
        self._value(fields, self._columns.caption, self._metadata.name)


def _picture_fields(column: str) -> tuple[str, ...]:
    """The metadata's fields that may hold the file name of a picture column, in order of preference."""
    names = (*(column + ending for ending in _FILE_ENDINGS), column)
    return ("file_name", *names) if column == "image" else names
