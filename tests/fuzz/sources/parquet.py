"""Parquet tables: cells that are no pictures or of other types, damaged files, pages that are bombs."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right
from fuzz.pictures import encoded, odd

ROWS = 6
COLUMNS = ("image", "pose_image", "caption")


def rows() -> list[dict]:
    """Rows of a valid table, as the hubs hold them."""
    return [
        {
            "image": {"bytes": encoded(index), "path": None},
            "pose_image": {"bytes": encoded(100 + index), "path": None},
            "caption": f"number {index}",
        }
        for index in range(ROWS)
    ]


def write(folder: Path, table: list[dict]) -> Path:
    """A source of one file."""
    folder.mkdir(parents=True)
    path = folder / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(table), path)
    return path


def picture(rng: random.Random, source: Path) -> Mutation:
    """A picture that is odd."""
    table = rows()
    how, content, right = odd(rng)
    row, column = rng.randrange(ROWS), rng.choice(COLUMNS[:2])
    table[row][column]["bytes"] = content
    write(source, table)
    return Mutation(f"parquet: {column} of row {row} is {how}", right, (f"row {row}",))


def cell(rng: random.Random, source: Path) -> Mutation:
    """A cell that is empty, or a path."""
    table = rows()
    row, column = rng.randrange(ROWS), rng.choice(COLUMNS)
    table[row][column] = None
    if column != "caption" and rng.random() < 0.5:
        path = rng.choice(["/etc/passwd", "../x.png", "/dev/zero", "http://example.org/a.png", ""])
        table[row][column] = {"bytes": None, "path": path}
    write(source, table)
    right = Right.ANY if column == "caption" else Right.REFUSED
    return Mutation(f"parquet: {column} of row {row} is {table[row][column]}", right, (f"row {row}",))


def kind(rng: random.Random, source: Path) -> Mutation:
    """A column of another type."""
    table, column = rows(), rng.choice(COLUMNS)
    value = rng.choice([3, 2.5, True, "x", b"x", [1, 2], {"a": 1}, None, [b"x"], float("nan")])
    for row in table:
        row[column] = value
    write(source, table)
    right = Right.ANY if column == "caption" else Right.REFUSED
    return Mutation(f"parquet: the column {column} is of {value!r}", right, (column, "row 0"))


def column(rng: random.Random, source: Path) -> Mutation:
    """A column that is not there."""
    gone = rng.choice(COLUMNS)
    write(source, [{key: value for key, value in row.items() if key != gone} for row in rows()])
    return Mutation(f"parquet: no column {gone}", Right.REFUSED, (gone,))


def file(rng: random.Random, source: Path) -> Mutation:
    """A file that is damaged."""
    path = write(source, rows())
    how = damage.bytes_of(rng, path) if rng.random() < 0.5 else damage.flip(rng, path)
    right = Right.ANY if "flipped" in how else Right.REFUSED
    return Mutation(f"parquet: {path.name}: {how}", right, (path.name, source.name))


def bomb(rng: random.Random, source: Path) -> Mutation:
    """Pages of a few kB that are gigabytes when they are read."""
    count, megabytes = rng.choice([(8, 150), (90, 100), (1, 300)])
    # Once in the file, as a dictionary's only entry, and `count` times in what is read.
    zeros = pa.array([bytes(megabytes * 10**6)], pa.binary())
    image = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), zeros)
    table = pa.table({"image": image, "pose_image": [encoded(100)] * count, "caption": ["x"] * count})
    source.mkdir(parents=True)
    options = {"compression": "zstd", "dictionary_pagesize_limit": 10**9, "store_schema": False}
    pq.write_table(table, source / "rows.parquet", **options)
    named = ("rows.parquet", "row 0")
    return Mutation(f"parquet: {count} cells of {megabytes} MB of zeros", Right.REFUSED, named)


def _bytes(index: int = 0) -> bytes:
    return encoded(index)


# Types of the image's column, with a picture in each row or what cannot be one.
TYPES = {
    "large binary": (pa.large_binary(), _bytes()),
    "a dictionary": (pa.dictionary(pa.int32(), pa.binary()), _bytes()),
    "a list of bytes": (pa.list_(pa.uint8()), list(_bytes())),
    "a list of pictures": (pa.list_(pa.binary()), [_bytes()]),
    "a fixed size": (pa.binary(3), b"abc"),
    "a date": (pa.date32(), 3),
    "a struct without bytes": (pa.struct([("path", pa.string())]), {"path": "a.png"}),
    "a struct of text": (pa.struct([("bytes", pa.string()), ("path", pa.string())]), {"bytes": "x", "path": "x"}),
    "a struct in a struct": (pa.struct([("bytes", pa.struct([("bytes", pa.binary())]))]), {"bytes": {"bytes": b"x"}}),
    "a path with NUL": (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), {"bytes": None, "path": "a\0b"}),
    "a map": (pa.map_(pa.string(), pa.binary()), [("bytes", _bytes())]),
    "text": (pa.string(), "0.png"),
    "nothing": (pa.null(), None),
}


def typed(rng: random.Random, source: Path) -> Mutation:
    """A column of pictures of any type there is; some of them hold pictures."""
    how = rng.choice(list(TYPES))
    kind, value = TYPES[how]
    table = rows()
    columns = {
        "pose_image": [row["pose_image"]["bytes"] for row in table],
        "caption": [row["caption"] for row in table],
    }
    source.mkdir(parents=True)
    image = pa.array([value] * ROWS, pa.binary()).dictionary_encode() if pa.types.is_dictionary(kind) else None
    image = pa.array([value] * ROWS, kind) if image is None else image
    pq.write_table(pa.table({"image": image, **columns}), source / "rows.parquet")
    right = Right.ANY if how in ("large binary", "a dictionary", "a list of bytes") else Right.REFUSED
    return Mutation(f"parquet: images in {how}", right, ("image", "row 0", "rows.parquet"))


def several(rng: random.Random, source: Path) -> Mutation:
    """Two files that do not fit each other."""
    write(source, rows())
    table = pa.Table.from_pylist(rows())
    changed = {
        "without a column": table.drop_columns(["caption"]),
        "without rows": table.slice(0, 0),
        "of other types": table.set_column(2, "caption", pa.array(range(ROWS))),
        "with a column twice": table.append_column("caption", table["caption"]),
        "of one huge caption": table.set_column(2, "caption", pa.array(["a" * 10**7] * ROWS)),
    }
    how = rng.choice(list(changed))
    pq.write_table(changed[how], source / "rows2.parquet")
    right = Right.REFUSED if how == "without a column" else Right.ANY
    return Mutation(f"parquet: a second file {how}", right, ("rows2.parquet", "caption", source.name))


KINDS: Kinds = {picture: 10, cell: 6, kind: 8, column: 2, file: 8, bomb: 1, typed: 8, several: 4}
