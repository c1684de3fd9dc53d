"""Lines of tables that people write: .jsonl and .csv, in UTF-8, with or without a byte order mark, LF or CRLF."""

import csv
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lisa_jax.data.rows.row import RowError
from lisa_jax.files.regular_file import IrregularFileError, check_regular

# Of a whole table; one of a million rows has some 100 MB.
_MAX_BYTES = 2**31
# Of a row: without line breaks, a file of another kind would be one.
_MAX_LINE_BYTES = 2**24


def table_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a .jsonl file, or rows of a .csv file as JSON, with their numbers from 1 on; empty ones are left out.

    A .csv file is separated by commas, or where its header has none by semicolons or tabs.

    Raises:
      OSError: the file cannot be read.
      RowError: it is no regular file, larger than 2 GB or has a line of 16 MB, is no text in UTF-8, or no table.
    """
    try:
        check_regular(path, _MAX_BYTES)
        yield from (_csv_rows if path.suffix.lower() == ".csv" else _json_lines)(path)
    except IrregularFileError as error:
        raise RowError(f"{error}.") from error


def _json_lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in _lines(path):
        if line.strip():
            yield number, line.strip()


def _csv_rows(path: Path) -> Iterator[tuple[int, str]]:
    lines = (line for _, line in _lines(path))
    first = next(lines, "")
    # Where the comma is the decimal sign, tables are separated otherwise.
    delimiter = next((sign for sign in ",;\t" if sign in first), ",")
    # Strictly, for a quote that is never closed would swallow all rows behind it.
    reader = csv.DictReader(chain([first], lines), delimiter=delimiter, strict=True)
    try:
        names = list(reader.fieldnames or [])
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise RowError(f"{path.name}: several columns are named {repeated[0]!r}: rename all but one.")
        for number, row in enumerate(reader, 1):
            # Cells beyond the header come under None; a line with them was quoted wrongly, and its other cells may be
            # shifted. It becomes a row that cannot be used.
            yield number, json.dumps(f"cells beyond the header: {row[None]}" if None in row else row)
    except csv.Error as error:
        line = reader.reader.line_num
        raise RowError(f"{path.name}: the row that ends at line {line} cannot be read ({error}).") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > _MAX_LINE_BYTES:
                raise RowError(f"{path.name}: line {number} has more than {_MAX_LINE_BYTES:,} bytes: no row has.")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                kind = "is UTF-16" if line.startswith((b"\xff\xfe", b"\xfe\xff")) else f"is not UTF-8 text ({error})"
                raise RowError(f"{path.name}: line {number} {kind}: save the file as UTF-8.") from error
