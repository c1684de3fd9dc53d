"""Rows of a folder of pictures with a table metadata.jsonl or metadata.csv beside them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa

from lisa_jax.data.rows.listing import find_listing
from lisa_jax.data.rows.named_file import named_clip, read_named
from lisa_jax.data.rows.row import NAME_COLUMNS, Columns, Row, RowError, captions_of, check_index, fingerprint_of
from lisa_jax.data.rows.table_lines import table_lines
from lisa_jax.data.rows.usual_columns import usual_columns
from lisa_jax.files.json_object import JsonError, parse_object
from lisa_jax.files.sha256 import sha256_of
from lisa_jax.media.clip import StoredClip
from lisa_jax.media.decode import Picture

_FILE_ENDINGS = ("_file_name", "_file")
# Which a listing may call otherwise, see `_picture_fields`.
_DEFAULT_PICTURES = ("image", "condition")
_LINES_CHECKED = 100
_BLOCK_LINES = 10_000


class ImageFolderRows:
    """One row for each line of the metadata, in its order; pictures without a line are no rows. See `Rows`.

    The metadata names picture files relative to its folder, as `datasets`' ImageFolder does: the column `image` in the
    field `file_name`, `image_file_name`, `image_file` or `image`, any other picture column x in `x_file_name`, `x_file`
    or `x`. A line that cannot be read is a row of its own that raises RowError.
    """

    def __init__(self, location: str, columns: Columns, allow_outside: bool = False):
        """Reads the metadata, but no picture.

        Args:
          location: the folder, or a listing in it by any name: .csv, or .jsonl or .json with an object a line.
          columns: the names of the columns.
          allow_outside: whether pictures may lie outside of the listing's folder.

        Raises:
          ValueError: the folder has no metadata, or both kinds.
          RowError: a column is in none of the first hundred lines, or the listing cannot be read.
        """
        self._location = location
        self._columns = columns
        self._allow_outside = allow_outside
        self._path = find_listing(location)
        self._lines = _array(text for _, text in table_lines(self._path))
        self._check_columns()

    def __len__(self) -> int:
        return len(self._lines)

    def __repr__(self) -> str:
        return f"ImageFolderRows({self._location!r}, {len(self)} rows)"

    def fingerprint(self) -> str:
        """A hash of the metadata's content, which holds the pictures' names, and of the columns."""
        return fingerprint_of("folder", [(self._path.name, sha256_of(self._path))], self._columns)

    def __getitem__(self, index: int) -> Row:
        index = check_index(index, len(self), self)
        where = f"{self._path.name} row {index}"
        fields = self._fields(index, where)
        columns = self._columns

        def picture(column: str) -> Picture | StoredClip:
            name = self._value(fields, column, where, picture=True)
            if name is None or name == "":
                raise RowError(f"{where}: the file name of {column!r} is empty.")
            if not isinstance(name, str):
                raise RowError(f"{where}: {column!r} is of type {type(name).__name__}, but must be a file name.")
            named = named_clip if columns.clips else read_named
            return named(self._path.parent, name, self._allow_outside, column, where)

        def captions() -> tuple[str, ...]:
            if columns.caption is None:
                return ("",)
            if columns.keep_empty:
                return captions_of(fields.get(columns.caption), columns, where)
            return captions_of(self._value(fields, columns.caption, where), columns, where)

        caption, *more_captions = captions()
        return Row(
            where=where,
            image=picture(columns.image),
            conditions={name: picture(column) for name, column in columns.conditions.items()},
            caption=caption,
            extras={name: self._extra(fields, column, where, picture) for name, column in columns.extras.items()},
            more_captions=tuple(more_captions),
        )

    def _extra(self, fields: Mapping[str, Any], column: str, where: str, picture: Callable[[str], Any]) -> Any:
        """The contents of the file where the field's name ends in `_file_name` or `_file`, else the value."""
        is_file = column.endswith(_FILE_ENDINGS) or any(column + ending in fields for ending in _FILE_ENDINGS)
        return picture(column) if is_file else self._value(fields, column, where)

    def _value(self, fields: Mapping[str, Any], column: str, where: str, picture: bool = False) -> Any:
        for name in _picture_fields(column) if picture else (column,):
            if name in fields:
                return fields[name]
        raise RowError(f"{where}: there is no {column!r}; the fields are {list(fields)}.")

    def _fields(self, index: int, where: str) -> dict[str, Any]:
        text = self._lines[index].as_py()
        try:
            return parse_object(text, "the line")
        except JsonError as error:
            shown = f" ({text[:100]})" if text.startswith('"') else ""
            raise RowError(f"{where}: {error}{shown}.") from error

    def _check_columns(self) -> None:
        """Fails early, before any work is done, where the columns have other names."""
        fields: dict[str, Any] = {}
        for index in range(min(len(self), _LINES_CHECKED)):
            # A damaged line is an error of its own row only.
            with contextlib.suppress(RowError):
                fields |= self._fields(index, "")
        if not fields:
            return
        named = {column for column in _DEFAULT_PICTURES if any(name in fields for name in _picture_fields(column))}
        self._columns = usual_columns(self._columns, named | fields.keys(), self._path.name)
        pictures = (*self._columns.pictures(), *self._columns.extras.values())
        wanted = {column: _picture_fields(column) for column in pictures}
        if self._columns.caption is not None:
            wanted |= {self._columns.caption: (self._columns.caption,)}
        for column, names in wanted.items():
            if not any(name in fields for name in names):
                there = list(fields)
                raise RowError(f"{self._path.name}: there is no {column!r}; the fields are {there}: {NAME_COLUMNS}.")


def _picture_fields(column: str) -> tuple[str, ...]:
    """The metadata's fields that may hold the file name of a picture column, in order of preference."""
    names = (*(column + ending for ending in _FILE_ENDINGS), column)
    return ("file_name", *names) if column == "image" else names


def _array(texts: Iterator[str]) -> pa.ChunkedArray:
    # Arrow arrays take a fraction of what Python objects would, and are handed to worker processes quickly.
    blocks = iter(lambda: list(islice(texts, _BLOCK_LINES)), [])
    return pa.chunked_array([pa.array(block, pa.large_string()) for block in blocks], pa.large_string())
