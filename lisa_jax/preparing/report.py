"""Rows that were left out, and why, and what was decided about others: nothing happens in silence."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

REPORT_FILE = "report.jsonl"

# What may not be wanted of a row that is used.
TURNED = (
    "EXIF turns the image and not its condition, or the other way round; where conditions were made of the pixels as "
    "they are stored, they do not lie on the image: turn the pixels themselves (magick mogrify -auto-orient), make "
    "conditions of those, and prepare again"
)
FRAMES = "a picture has further frames or pages, and the first was taken"
LONGER = "a video is longer than what is taken of it, and its end was left out"
CUT = "the caption is longer than the base's tokenizer takes, and its end is not read"


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


@dataclasses.dataclass(frozen=True)
class Note:
    """What is to be told of rows that are used.

    Attributes:
      note: a sentence without its full stop, such as CUT.
      where: files and rows that it is about.
    """

    note: str
    where: tuple[str, ...]


def merged(notes: Iterable[Note]) -> list[Note]:
    """One note of each kind, with the rows of all."""
    rows: dict[str, tuple[str, ...]] = {}
    for note in notes:
        rows[note.note] = rows.get(note.note, ()) + note.where
    return [Note(note, where) for note, where in rows.items()]


def write_report(folder: Path, skipped: Iterable[Skipped], notes: Iterable[Note]) -> None:
    """Write `report.jsonl`: a line for each skipped row, then one for each note, with how many rows it is about."""
    lines = [dataclasses.asdict(row) for row in skipped]
    lines += [{"note": note.note, "count": len(note.where), "where": note.where} for note in notes]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    # Names of files may hold bytes that are no text.
    (folder / REPORT_FILE).write_text(text, encoding="utf-8", errors="backslashreplace")
