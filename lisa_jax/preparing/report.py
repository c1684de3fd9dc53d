"""Rows that were left out, and why: nothing is skipped in silence."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

REPORT_FILE = "report.jsonl"


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A row that was left out.

    Attributes:
      row: its place in the source, from 0.
      where: the file, and the row within it.
      reason: one sentence.
    """

    row: int
    where: str
    reason: str

    @staticmethod
    def of(row: int, error: Exception) -> "Skipped":
        """From an error whose message begins with the file and the row."""
        where, _, reason = str(error).partition(": ")
        return Skipped(row, where, reason)


def write_report(folder: Path, skipped: Iterable[Skipped]) -> None:
    """Write `report.jsonl`, one line a skipped row; empty where there is none."""
    lines = (json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n" for row in skipped)
    (folder / REPORT_FILE).write_text("".join(lines), encoding="utf-8")
