"""Rows of Arrow tables, whatever file they come from, and the columns that there must be."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from lisa_jax.data.rows.named_file import named_clip, read_named
from lisa_jax.data.rows.row import NAME_COLUMNS, Columns, Row, RowError, captions_of
from lisa_jax.media.clip import StoredClip
from lisa_jax.media.decode import Picture
from lisa_jax.media.open_picture import MAX_BYTES
from lisa_jax.parallel.messages import one_line


def check_columns(schema: pa.Schema, columns: Columns, where: str) -> None:
    """Raise RowError unless a table has the columns, each once, and pictures in those of pictures."""
    for column in columns.names():
        if schema.names.count(column) > 1:
            raise RowError(f"{where}: several columns are named {column!r}: rename all but one.")
        if _type_of(schema, column) is None:
            there = column_names(schema)
            raise RowError(f"{where}: there is no column {column!r}; the columns are {there}: {NAME_COLUMNS}.")
    for column in columns.pictures():
        type_ = _type_of(schema, column)
        if pa.types.is_struct(type_) and type_.get_field_index("bytes") >= 0:
            type_ = type_.field("bytes").type
        if not (pa.types.is_binary(type_) or pa.types.is_large_binary(type_)):
            text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
            raise RowError(
                f"{where}: column {column!r} is of type {type_}, but a picture column must be binary or "
                "a struct with 'bytes'"
                + ("; names and addresses are not followed: store the pictures themselves." if text else ".")
            )


def row_of(table: pa.Table, row: int, columns: Columns, folder: Path, allow_outside: bool, where: str) -> Row:
    """A row of a table in `folder`; raises RowError as `Rows` does."""

    def value(column: str) -> Any:
        return _cell(table, column, row, where)

    def picture(column: str) -> Picture | StoredClip:
        return _picture(value(column), column, folder, named, where)

    named = partial(named_clip if columns.clips else read_named, allow_outside=allow_outside)
    captions = ("",) if columns.caption is None else captions_of(value(columns.caption), columns, where)
    return Row(
        where=where,
        image=picture(columns.image),
        conditions={name: picture(column) for name, column in columns.conditions.items()},
        caption=captions[0],
        extras={name: _bytes_or_value(value(column)) for name, column in columns.extras.items()},
        more_captions=captions[1:],
    )


def _picture(
    value: Any, column: str, folder: Path, named: Callable[..., Picture | StoredClip], where: str
) -> Picture | StoredClip:
    """The encoded picture in a cell: its bytes, or what `named` gives of a file, named relative to the table's folder.

    Raises:
      RowError: it is empty, or the file is not there, may not be read or lies outside of the folder.
    """
    data = _bytes_or_value(value)
    if data:
        return data
    path = value.get("path") if isinstance(value, dict) else None
    if not path:
        raise RowError(f"{where}: the picture in {column!r} is empty.")
    if not os.path.lexists(folder / path):
        raise RowError(
            f"{where}: the picture in {column!r} only names the file {path!r}, which is not there: store the "
            "pictures' bytes in the table."
        )
    return named(folder, path, what=column, where=where)


def _type_of(schema: pa.Schema, column: str) -> pa.DataType | None:
    """The type of a column, or of a column inside of structs; None when there is none of that name."""
    if column in schema.names:
        return schema.field(column).type
    outer, *inner = column.split(".")
    if outer not in schema.names:
        return None
    type_ = schema.field(outer).type
    for name in inner:
        if not pa.types.is_struct(type_) or type_.get_field_index(name) < 0:
            return None
        type_ = type_.field(name).type
    return type_


def column_names(schema: pa.Schema) -> list[str]:
    """All names, columns inside of structs too, but not the parts of a picture struct."""
    names = []
    for field in schema:
        nested = pa.types.is_struct(field.type) and field.type.get_field_index("bytes") < 0
        names += [f"{field.name}.{inner.name}" for inner in field.type] if nested else [field.name]
    return names


def _cell(table: pa.Table, column: str, row: int, where: str) -> Any:
    """One cell as a Python object; RowError where it is too large or cannot be read."""
    outer, *inner = [column] if column in table.schema.names else column.split(".")
    cell = table.column(outer).slice(row, 1)
    if cell.nbytes > MAX_BYTES:
        raise RowError(f"{where}: {column!r} has {cell.nbytes:,} bytes, but more than {MAX_BYTES:,} are refused.")
    try:
        value = cell[0].as_py()
    # Text that is not UTF-8, a date beyond the calendar's end.
    except (ValueError, OverflowError) as error:
        raise RowError(f"{where}: {column!r} cannot be read ({one_line(error)}).") from error
    for name in inner:
        value = None if value is None else value[name]
    return value


def _bytes_or_value(value: Any) -> Any:
    """The bytes of a picture struct, any other value as it is."""
    return value["bytes"] if isinstance(value, dict) and "bytes" in value else value
