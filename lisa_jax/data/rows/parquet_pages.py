"""Sizes of Parquet pages as their own headers have them, without decompressing: a footer can say anything.

Headers are Thrift structs in the compact protocol (https://github.com/apache/parquet-format): `PageHeader` begins with
its type, uncompressed and compressed size.
"""

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_NUMBERS = (_I16, _I32, _I64)
# Statistics of a header may hold a smallest and a greatest value, whole pictures among them.
_MAX_FIELD = 2**28
_MAX_DEPTH = 8
# Writers have counted wrongly by a little; so much does no harm.
_HARMLESS_BYTES = 2**28


class PageError(ValueError):
    """Pages that hold far more than the footer says."""


class _NoHeaderError(ValueError):
    """What should be a page header is none."""


def check_pages(file: Path, chunk: pq.ColumnChunkMetaData) -> None:
    """Raise PageError where the pages of a column chunk hold far more than its footer says.

    What cannot be understood is left to those who read the pages.
    """
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    end, held = start + chunk.total_compressed_size, 0
    with file.open("rb") as stream, contextlib.suppress(_NoHeaderError):
        stream.seek(start)
        while stream.tell() < end:
            uncompressed, compressed = _page_sizes(stream)
            held += uncompressed
            if held > max(2 * chunk.total_uncompressed_size, _HARMLESS_BYTES):
                raise PageError(
                    f"the pages of column {chunk.path_in_schema!r} hold {held:,} bytes or more, but the footer says "
                    f"{chunk.total_uncompressed_size:,}"
                )
            stream.seek(compressed, os.SEEK_CUR)


def _page_sizes(stream: BinaryIO) -> tuple[int, int]:
    """(uncompressed, compressed) bytes of a page; the stream stands behind the header then."""
    numbers = _struct(stream, 0)
    uncompressed, compressed = numbers.get(2, -1), numbers.get(3, -1)
    if uncompressed < 0 or compressed < 0:
        raise _NoHeaderError("there are no sizes")
    return uncompressed, compressed


def _struct(stream: BinaryIO, depth: int) -> dict[int, int]:
    """The numbers of a struct by field; all else is passed over."""
    if depth > _MAX_DEPTH:
        raise _NoHeaderError("a page header is nested too deeply")
    numbers, field = {}, 0
    while (head := _byte(stream)) != _STOP:
        field = field + (head >> 4) if head >> 4 else _zigzag(_varint(stream))
        value = _value(stream, head & 15, depth)
        if value is not None:
            numbers[field] = value
    return numbers


def _value(stream: BinaryIO, kind: int, depth: int) -> int | None:
    """A number, or None for what is passed over. Lists, sets and maps do not occur in page headers."""
    if kind in _NUMBERS:
        return _zigzag(_varint(stream))
    if kind == _BINARY:
        if (length := _varint(stream)) > _MAX_FIELD:
            raise _NoHeaderError(f"a page header holds a value of {length:,} bytes")
        stream.seek(length, 1)
    elif kind in (_BYTE, _DOUBLE):
        stream.seek(1 if kind == _BYTE else 8, 1)
    elif kind == _STRUCT:
        _struct(stream, depth + 1)
    elif kind not in (_TRUE, _FALSE):
        raise _NoHeaderError("a page header is none")
    return None


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = _byte(stream)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise _NoHeaderError("a number of a page header does not end")


def _byte(stream: BinaryIO) -> int:
    data = stream.read(1)
    if not data:
        raise _NoHeaderError("the file ends within a page header")
    return data[0]
