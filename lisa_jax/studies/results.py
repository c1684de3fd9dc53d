"""Results of a study on disk: one JSON line a finished cell, never from two codes, bases, data sets or protocols."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa_jax.experiments.bounds import STEPS
from lisa_jax.experiments.kinds import NumberOrNull, Table, Text, require, shown
from lisa_jax.files.changes import changes
from lisa_jax.files.lines import append_lines, read_objects
from lisa_jax.parallel.messages import with_kind
from lisa_jax.studies.config_fields import CELL, NEEDED
from lisa_jax.studies.grid import Cell, read_cell

# What a run took, beside its curve.
COSTS = ("seconds_per_step", "flops_per_step", "temporary_bytes", "seconds")


class Results:
    """A folder of `*.jsonl` files: a first line with the study's identity and title, then one row a cell.

    Several processes may write at once, each to a file of its own name.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], file: str = "results", title: str = ""):
        """Open or start a folder.

        Args:
          identity: all that makes results comparable, JSON values; see `study_identity`.
          file: stem of the file that this process writes.
          title: of the study, for readers; blank for none.

        Raises:
          ValueError: the folder holds results of another identity; tells what differs.
        """
        self.folder, self._identity = Path(folder), json.loads(json.dumps(identity))
        self._path, self._title = self.folder / f"{file}.jsonl", title.strip()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows()

    def rows(self) -> dict[str, dict[str, Any]]:
        """Rows of finished cells by cell id, of all files, see `read_rows`."""
        found = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            identity, rows = read_rows(path)
            if identity is not None:
                self._check(path, identity)
            found |= {row["id"]: row for row in rows}
        return found

    def append(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Add a finished cell."""
        row = {"id": cell.id, "cell": cell.written(), **result}
        begun = self._path.exists() and read_rows(self._path)[0] is not None
        named = {"title": self._title} if self._title else {}
        first = [] if begun else [json.dumps({"identity": self._identity, **named})]
        append_lines(self._path, [*first, json.dumps(row)])

    def _check(self, path: Path, identity: Mapping[str, Any]) -> None:
        if differing := changes(identity, self._identity):
            raise ValueError(f"{path} holds results of another study: {'; '.join(differing)}. Use another --out.")


def read_folder(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Rows by cell id of a folder of results, whatever code made them.

    Raises:
      FileNotFoundError: there are none.
      ValueError: its files are of different studies.
    """
    files = sorted(Path(folder).glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no results: give the --out of a study.")
    identity = next((found for path in files if (found := read_rows(path)[0]) is not None), None)
    if identity is None:
        raise FileNotFoundError(f"{folder} holds no results yet: no cell of the study is finished.")
    return Results(folder, identity).rows()


def read_title(folder: str | Path) -> str:
    """What the study of a folder is called, "" where no file of it says.

    Raises:
      ValueError: a title that is no text.
    """
    for path in sorted(Path(folder).glob("*.jsonl")):
        where, first = next(read_objects(path), ("", {}))
        if "identity" in first and (title := first.get("title", "")) != "":
            require(f"{where}: title", title, Text())
            return title
    return ""


def read_rows(path: str | Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """Identity and rows of one file; (None, []) of one that is empty or holds something else, as probes do.

    `cell` of a row is a `Cell`, with the usual values of fields that are younger than the row. A last line that was cut
    short is left out.

    Raises:
      ValueError: a line that is no row of a study, by number.
    """
    lines = read_objects(path)
    where, first = next(lines, ("", {}))
    if "identity" not in first:
        return None, []
    if not isinstance(first["identity"], dict):
        raise ValueError(f"{where} should say the identity of a study, but says {shown(first['identity'])}.")
    return first["identity"], [_read_row(row, where) for where, row in lines]


def _is_point(point: Any) -> bool:
    return Table(NumberOrNull()).takes(point) and STEPS.takes(point.get("step"))


def _read_row(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    try:
        cell = read_cell(row["cell"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{where} is no row of a study: its cell cannot be read ({with_kind(error)}).") from error
    for name in NEEDED:
        require(f"{where}: cell.{name}", row["cell"].get(name), CELL[name])
    curve = row.get("curve", [])
    if not isinstance(row.get("id"), str) or not isinstance(curve, list) or not all(map(_is_point, curve)):
        raise ValueError(f"{where} is no row of a study: it needs an id, and a curve of points, numbers with a step.")
    # Pictures of the run lie in a folder of that name.
    if Path(row["id"]).name != row["id"]:
        raise ValueError(f"{where} is no row of a study: its id {row['id']!r} is no name of a run.")
    for name in COSTS:
        require(f"{where}: {name}", row.get(name), NumberOrNull())
    return {**row, "cell": cell}
