"""Image folders: pictures that are none, metadata and lines that are damaged, names that lead elsewhere or are odd."""

import csv
import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right
from fuzz.pictures import encoded, odd

ROWS = 6
JSONL, CSV = "metadata.jsonl", "metadata.csv"


def write(folder: Path, name: str = JSONL) -> Path:
    """A valid folder; returns its metadata file."""
    folder.mkdir(parents=True)
    for index in range(ROWS):
        (folder / f"{index}.png").write_bytes(encoded(index))
        (folder / f"pose{index}.png").write_bytes(encoded(100 + index))
    return _write_metadata(folder / name, [_row(f"{index}.png", index) for index in range(ROWS)])


def _row(file: str, index: int) -> dict[str, str]:
    return {"file_name": file, "pose_image": f"pose{index}.png", "caption": f"number {index}"}


def _write_metadata(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def _metadata(rng: random.Random, share_of_csv: float) -> str:
    return CSV if rng.random() < share_of_csv else JSONL


def picture(rng: random.Random, source: Path) -> Mutation:
    """A picture that is odd."""
    write(source, _metadata(rng, 0.3))
    how, content, right = odd(rng)
    row = rng.randrange(ROWS)
    name = rng.choice([f"{row}.png", f"pose{row}.png"])
    (source / name).write_bytes(content)
    return Mutation(f"folder: {name} is {how}", right, (name, f"row {row}"))


def file(rng: random.Random, source: Path) -> Mutation:
    """A picture's file that is damaged."""
    write(source)
    row = rng.randrange(ROWS)
    path = source / rng.choice([f"{row}.png", f"pose{row}.png"])
    how = damage.bytes_of(rng, path)
    return Mutation(f"folder: {path.name}: {how}", Right.REFUSED, (path.name, f"row {row}"))


def metadata(rng: random.Random, source: Path) -> Mutation:
    """Metadata that are damaged."""
    path = write(source, _metadata(rng, 0.5))
    how = (damage.json_of if path.suffix == ".jsonl" else damage.bytes_of)(rng, path)
    # Cut between two lines it is a shorter table, and none says that it was longer.
    right = Right.ANY if "of" in how or how == "cut short" else Right.REFUSED
    return Mutation(f"folder: {path.name}: {how}", right, (path.name, source.name))


_WHOLE = '{"file_name": "0.png", "pose_image": "pose0.png", "caption": %s}'
_LINES = (
    "[1]",
    "3",
    "null",
    "{}",
    "{",
    '{"file_name": 3}',
    '{"file_name": null, "pose_image": [], "caption": {}}',
    "[" * damage.DEEP,
    '{"a":' * damage.DEEP,
    '{"file_name": "' + "a" * 5000 + '", "pose_image": "x", "caption": "x"}',
    _WHOLE % "NaN",
    _WHOLE % "3",
    _WHOLE % '""',
    _WHOLE % '["a"]',
    '{"file_name": "0\\u0000.png", "pose_image": "pose0.png", "caption": "x"}',
    '{"file_name": "\\ud800.png", "pose_image": "pose0.png", "caption": "x"}',
    '{"file_name": ".", "pose_image": "pose0.png", "caption": "x"}',
    _WHOLE % '"\\ud800"',
)
# A picture may have several captions, or an empty one.
_TAKEN = (_WHOLE % '""', _WHOLE % '["a"]')


def line(rng: random.Random, source: Path) -> Mutation:
    """A line of the metadata that is no record, or none with these fields."""
    path = write(source)
    lines, row = path.read_text().splitlines(), rng.randrange(ROWS)
    lines[row] = rng.choice(_LINES)
    path.write_text("\n".join(lines) + "\n")
    right = Right.ANY if lines[row] in _TAKEN else Right.REFUSED
    return Mutation(f"folder: line {row} is {lines[row][:70]}", right, (f"row {row}", f"line {row + 1}", path.name))


_ODD = ("a[1].png", "a*b.png", "a,b.png", "a b.png", "ä猫.png", "a\nb.png", "-a.png", "a%20b.png", "~.png", "{x}.png")


def name(rng: random.Random, source: Path) -> Mutation:
    """A picture's name that leads outside of the folder or to no file, or is odd."""
    write(source).unlink()
    outside = source.parent / "outside.png"
    outside.write_bytes(encoded(7))
    (source / "link.png").symlink_to(outside)
    (source / "folder.png").mkdir()
    os.mkfifo(source / "fifo.png")
    elsewhere = ("../outside.png", str(outside), "/dev/zero", "/etc/passwd", "folder.png", "fifo.png")
    chosen = rng.choice([*elsewhere, *_ODD])
    if chosen in _ODD:
        (source / chosen).write_bytes(encoded(0))
    rows = [_row(chosen, 0), *(_row(f"{index}.png", index) for index in range(1, ROWS))]
    _write_metadata(source / _metadata(rng, 0.3), rows)
    right = Right.ANY if chosen in _ODD else Right.REFUSED
    return Mutation(f"folder: a picture called {chosen!r}", right, (chosen, "row 0", repr(chosen)))


_HEADER = "file_name,pose_image,caption\n"
_REST = "".join(f"{index}.png,pose{index}.png,number {index}\n" for index in range(1, ROWS))
# First lines of a table in CSV, and whether it can be read.
_TABLES = {
    "whole": (_HEADER + "0.png,pose0.png,a\n", Right.ANY),
    "a BOM": ("\ufeff" + _HEADER + "0.png,pose0.png,a\n", Right.ANY),
    "an empty line": (_HEADER + "\n0.png,pose0.png,a\n", Right.ANY),
    "a quote that is open": (_HEADER + '0.png,pose0.png,"a\n', Right.REFUSED),
    "a cell too many": (_HEADER + "0.png,pose0.png,a,b\n", Right.REFUSED),
    "a cell too few": (_HEADER + "0.png,pose0.png\n", Right.REFUSED),
    "NUL": (_HEADER + "0.png,pose0.png,a\0b\n", Right.ANY),
    "a column twice": ("file_name,pose_image,caption,caption\n0.png,pose0.png,a,b\n", Right.REFUSED),
    "a column without a name": ("file_name,pose_image,caption,\n0.png,pose0.png,a,b\n", Right.ANY),
    "spaces in the header": ("file_name, pose_image, caption\n0.png,pose0.png,a\n", Right.REFUSED),
    "semicolons": (_HEADER.replace(",", ";") + "0.png;pose0.png;a\n", Right.REFUSED),
    "a cell of 200 kB": (_HEADER + f"0.png,pose0.png,{'a' * 200_000}\n", Right.ANY),
    "50,000 columns": (_HEADER[:-1] + ",x" * 50_000 + "\n0.png,pose0.png,a\n", Right.REFUSED),
    "no header": ("0.png,pose0.png,a\n", Right.REFUSED),
    "a header alone": (_HEADER, Right.REFUSED),
}


def table(rng: random.Random, source: Path) -> Mutation:
    """Metadata in CSV."""
    path = write(source, CSV)
    how = rng.choice(list(_TABLES))
    text, right = _TABLES[how]
    path.write_bytes((text + ("" if how == "a header alone" else _REST)).encode())
    return Mutation(f"folder: {CSV}: {how}", right, (CSV, source.name))


def linked(rng: random.Random, source: Path) -> Mutation:
    """A name that leads outside by way of a link, or through a file."""
    path = write(source)
    outside = source.parent / "outside"
    outside.mkdir()
    (outside / "0.png").write_bytes(encoded(7))
    (source / "link").symlink_to(outside)
    (source / "loop.png").symlink_to("loop.png")
    (source / "up").symlink_to("..")
    names = ["link/0.png", "up/outside/0.png", "loop.png", "0.png/x", "0.png/.", "./link/../link/0.png", "link", "\0"]
    chosen = rng.choice([*names, "x" * 300, "x/" * 3000, "//dev/zero", "/proc/self/mem", "link/../../outside/0.png"])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(_row(chosen, 0)), *lines[1:]]) + "\n")
    # That is the picture itself.
    right = Right.ANY if chosen == "0.png/." else Right.REFUSED
    return Mutation(f"folder: a picture at {chosen[:40]!r}", right, (path.name, "row 0"))


KINDS: Kinds = {picture: 14, file: 8, metadata: 10, line: 12, name: 12, table: 8, linked: 8}
