"""Lines of tables that people write: .jsonl and .csv, in UTF-8, with or without a byte order mark, LF or CRLF."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from lisa_jax.data.rows.row import RowError
from lisa_jax.files.regular_file import IrregularFileError, check_regular

# Of a whole table; one of a million rows has some 100 MB.
_MAX_BYTES = 2**31


def table_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a .jsonl file, or rows of a .csv file as JSON, with their numbers from 1 on; empty ones are left out.

    Raises:
      OSError: the file cannot be read.
      RowError: it is no regular file, larger than 2 GB, or no text in UTF-8.
    """
    try:
        check_regular(path, _MAX_BYTES)
        yield from (_csv_rows if path.suffix == ".csv" else _lines)(path)
    except IrregularFileError as error:
        raise RowError(f"{error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RowError(f"{path.name}: not readable as UTF-8 text ({error}).") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.strip()


def _csv_rows(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            # Cells beyond the header come under None; a line with them was quoted wrongly, and its other cells may be
            # shifted. It becomes a row that cannot be used.
            yield number, json.dumps(f"cells beyond the header: {row[None]}" if None in row else row)
