"""Listings: requests from a .jsonl or .csv file."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lisa_jax.data.rows.table_lines import table_lines
from lisa_jax.drawing.requests import Request
from lisa_jax.files.json_object import JsonError, parse_object

# A sample each, in memory at once.
MOST_ROWS = 1_000_000


def read_listing(path: str | Path, names: Collection[str], *, clips: bool = False) -> list[Request]:
    """Requests of a .jsonl or .csv file, one a row, read as the metadata of image folders are.

    A row has the fields `prompt`, `condition` (a file, from the listing's folder; for several side networks
    `condition_<name>` each) and, if wanted, `negative_prompt`. Of videos it may have a `first_frame`, and no `prompt`.

    Raises:
      OSError: there is no such file.
      ValueError: another kind of file, no text in UTF-8, a row that is not JSON, or fields that are missing, unknown or
        no text, by row.
    """
    path = Path(path)
    fields = {f"condition_{name}" if len(names) > 1 else "condition": name for name in names}
    needed, other = (() if clips else ("prompt",)), ("negative_prompt", *(("prompt", "first_frame") if clips else ()))
    requests = []
    for where, row in _rows(path):
        missing = [field for field in needed if not isinstance(row.get(field), str)]
        # An empty cell would be the listing's own folder.
        missing += [field for field in fields if not isinstance(row.get(field), str) or not row[field]]
        unknown = sorted(set(row) - {*needed, *other, *fields}, key=str)
        if missing or unknown:
            problem = f"has no {missing[0]}" if missing else f"has an unknown field {unknown[0]}"
            has = f"{', '.join((*needed, *fields))} and maybe {' and '.join(other)}"
            raise ValueError(f"{where} {problem}: a row has {has}.")
        for field in other:
            if not isinstance(row.get(field), str | None):
                raise ValueError(f"{where}: {field} is {row[field]!r}, but must be a text.")
        negative, first = row.get("negative_prompt"), row.get("first_frame")
        conditions = {name: path.parent / row[field] for field, name in fields.items()}
        first_frame = path.parent / first if first else None
        requests.append(Request(where, row.get("prompt") or "", conditions, negative or None, first_frame))
    if not requests:
        raise ValueError(f"{path} has no rows.")
    return requests


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix not in (".jsonl", ".csv"):
        raise ValueError(f"{path} is neither a .jsonl nor a .csv file.")
    unit = "row" if path.suffix == ".csv" else "line"
    for count, (number, text) in enumerate(table_lines(path)):
        if count == MOST_ROWS:
            raise ValueError(f"{path} has more than {MOST_ROWS:,} rows: give several listings.")
        where = f"{path} {unit} {number}"
        try:
            row = parse_object(text, where)
        except JsonError as error:
            # What `table_lines` makes of a row that has too many cells.
            problem = f"{where} has {text}: quote what holds commas" if unit == "row" else error
            raise ValueError(f"{problem}.") from error
        yield where, row
