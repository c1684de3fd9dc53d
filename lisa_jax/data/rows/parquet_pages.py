"""Sizes of Parquet pages as their own headers have them, without decompressing: a footer can say anything.

Headers are Thrift structs in the compact protocol (https://github.com/apache/parquet-format): `PageHeader` begins with
its type, uncompressed and compressed size.
"""

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow.parquet as pq

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_NUMBERS = (_I16, _I32, _I64)
_DICTIONARY_PAGE = 2
# Statistics of a header may hold a smallest and a greatest value, whole pictures among them.
_MAX_FIELD = 2**28
_MAX_DEPTH = 8
# Writers have counted wrongly by a little; so much does no harm.
_HARMLESS_BYTES = 2**28


class PageError(ValueError):
    """Pages that hold far more than the footer says."""


class _NoHeaderError(ValueError):
    """What should be a page header is none."""


def shared_bytes(file: Path, chunk: pq.ColumnChunkMetaData) -> int:
    """Bytes of a column chunk that each of its cells may hold: its dictionary, or all where that is not known.

    Raises:
      PageError: its pages hold far more than its footer says.
    """
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    end, held, dictionary = start + chunk.total_compressed_size, 0, 0
    with file.open("rb") as stream:
        stream.seek(start)
        while stream.tell() < end:
            try:
                header = _header(stream)
            # Left to those who read the pages.
            except _NoHeaderError:
                return chunk.total_uncompressed_size
            held += header.uncompressed
            dictionary += header.uncompressed if header.kind == _DICTIONARY_PAGE else 0
            if held > max(2 * chunk.total_uncompressed_size, _HARMLESS_BYTES):
                raise PageError(
                    f"the pages of column {chunk.path_in_schema!r} hold {held:,} bytes or more, but the footer says "
                    f"{chunk.total_uncompressed_size:,}"
                )
            stream.seek(header.compressed, os.SEEK_CUR)
    # By which a cell may repeat the one before.
    return chunk.total_uncompressed_size if "DELTA_BYTE_ARRAY" in chunk.encodings else dictionary


class _Header(NamedTuple):
    kind: int
    uncompressed: int
    compressed: int


def _header(stream: BinaryIO) -> _Header:
    """The header of a page; the stream stands behind it then."""
    numbers = _struct(stream, 0)
    header = _Header(*(numbers.get(field, -1) for field in (1, 2, 3)))
    if min(header) < 0:
        raise _NoHeaderError("there are no sizes")
    return header


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
