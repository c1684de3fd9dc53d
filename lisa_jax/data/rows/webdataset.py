"""Rows of WebDataset tar shards."""

import dataclasses
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lisa_jax.data.rows.files import check_one_split, common_folder, matching_files
from lisa_jax.data.rows.row import Columns, Row, RowError, captions_of, check_index, fingerprint_of, names_and_sizes
from lisa_jax.data.rows.tar_headers import files_of
from lisa_jax.files.json_object import JsonError, parse_object
from lisa_jax.media.clip import SUFFIXES
from lisa_jax.media.open_picture import MAX_BYTES

_LOG = logging.getLogger("lisa_jax")
PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "ppm")
CLIPS = tuple(suffix.removeprefix(".") for suffix in SUFFIXES)

# Path up to the first dot of the file's name, and the rest, as in the webdataset library. Hidden files have no key.
_KEY_AND_EXTENSION = re.compile(r"^((?:.*/|)[^./][^.]*)[.]([^/]+)$", re.DOTALL)

_ABSENT = (-1, 0)


class WebDatasetRows:
    """One row for each key of each shard, in the order of the shards' names and of the keys within; see `Rows`.

    Files of one row share the key, the path up to the first dot of the file's name; the rest is the extension. What has
    no extension is no row. A column is found by extension, the first that exists:

    - a picture column x: `x`, then `x.jpg`, `x.png`, `x.webp`, ...; for the column "image" then `jpg`, `png`, ...
    - the caption x: `x`, `x.txt`, for the column "caption" `txt`, then the field x of `json`.
    - an extra x: `x`, `x.jpg`, `x.png`, ..., then the field x of `json`.

    Opening reads the headers of the shards and no contents; safe to use from several threads.
    """

    def __init__(self, location: str, columns: Columns):
        """Indexes all shards.

        Args:
          location: a tar file, a folder or a glob pattern.
          columns: the names of the columns.

        Raises:
          ValueError: nothing is found, or the shards are of several splits (train, test, ...).
          RowError: a shard is damaged or compressed, or holds a file twice; or no row has a column.
        """
        self._location = location
        self._columns = columns
        self._files = matching_files(location, ".tar")
        self._root = common_folder(self._files)
        check_one_split(self._files, location)
        self._parts = _parts(columns)
        # Rows may be millions: plain arrays instead of objects, and the lists of extensions, which are few, shared.
        self._keys: list[str] = []
        self._extensions: list[tuple[str, ...]] = []
        shards: list[int] = []
        places: list[list[tuple[int, int]]] = []
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        for shard, file in enumerate(self._files):
            for key, members in _index(file, self._name(file)).items():
                extensions = tuple(members)
                self._keys.append(key)
                self._extensions.append(shared.setdefault(extensions, extensions))
                shards.append(shard)
                places.append([_first(members, candidates) for candidates in self._parts.values()])
        self._shards = np.asarray(shards, np.int32)
        self._places = np.asarray(places, np.int64).reshape(len(shards), len(self._parts), 2)
        self._check_columns()

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"WebDatasetRows({self._location!r}, {len(self._files)} shards, {len(self)} rows)"

    def fingerprint(self) -> str:
        return fingerprint_of("webdataset", names_and_sizes(self._files, self._root), self._columns)

    def __getitem__(self, index: int) -> Row:
        index = check_index(index, len(self), self)
        shard = self._files[self._shards[index]]
        where = f"{self._name(shard)} row {self._keys[index]}"
        places = dict(zip(self._parts, self._places[index].tolist(), strict=True))
        try:
            with shard.open("rb") as file:
                return self._row(lambda part: _contents(file, *places[part], where), self._extensions[index], where)
        except OSError as error:
            raise RowError(f"{where}: cannot be read ({error.strerror}).") from error

    def _row(self, read: Callable[[str], bytes | None], extensions: tuple[str, ...], where: str) -> Row:
        columns = self._columns

        def picture(part: str, column: str) -> bytes:
            data = read(part)
            if not data:
                problem = "there is no picture" if data is None else "nothing is stored for"
                raise RowError(f"{where}: {problem} {column!r}; the extensions are {list(extensions)}.")
            return data

        def file_or_field(part: str, column: str) -> Any:
            data = read(part)
            return _json_field(read("json"), column, extensions, where) if data is None else data

        def captions() -> tuple[str, ...]:
            if columns.caption is None:
                return ("",)
            stored = read("caption")
            if stored is None:
                stored = _json_field(read("json"), columns.caption, extensions, where, optional=columns.keep_empty)
            return captions_of(stored, columns, where)

        caption, *more_captions = captions()
        return Row(
            where=where,
            image=picture("image", columns.image),
            conditions={name: picture(f"condition {name}", column) for name, column in columns.conditions.items()},
            caption=caption,
            extras={name: file_or_field(f"extra {name}", column) for name, column in columns.extras.items()},
            more_captions=tuple(more_captions),
        )

    def _check_columns(self) -> None:
        """Fails early, before any work is done, where the columns have other names."""
        found = dict(zip(self._parts, (self._places[:, :, 0] != _ABSENT[0]).any(axis=0), strict=True))
        if self._columns.clips and not (found["caption"] or found["json"]):
            _LOG.info("%s: there are no captions: all rows have the empty one.", self._location)
            self._columns, found["caption"] = dataclasses.replace(self._columns, caption=None), True
        for part in found:
            in_json = part == "json" or (found["json"] and (part == "caption" or part.startswith("extra ")))
            if len(self) and not found[part] and not in_json:
                raise RowError(
                    f"{self._name(self._files[0])}: no row has a file for the {part}, looked for as "
                    f"{list(self._parts[part])}; the first row's extensions are {list(self._extensions[0])}, all that "
                    "follows the first dot of a name."
                )

    def _name(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()


def _parts(columns: Columns) -> dict[str, tuple[str, ...]]:
    """The extensions that may hold each part of a row, in order of preference."""

    pictures = CLIPS if columns.clips else PICTURES

    def picture(column: str) -> tuple[str, ...]:
        return (column, *(f"{column}.{extension}" for extension in pictures))

    return {
        "image": picture(columns.image) + (pictures if columns.image == "image" else ()),
        **{f"condition {name}": picture(column) for name, column in columns.conditions.items()},
        "caption": (columns.caption, f"{columns.caption}.txt") + (("txt",) if columns.caption == "caption" else ()),
        **{f"extra {name}": picture(column) for name, column in columns.extras.items()},
        "json": ("json",),
    }


def _index(shard: Path, name: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Offset and size of each file of a shard, by key and by extension.

    Raises:
      RowError: the shard is damaged, compressed or truncated, or holds a file twice or a link.
    """
    index: dict[str, dict[str, tuple[int, int]]] = {}
    for member in files_of(shard, name):
        match = _KEY_AND_EXTENSION.match(member.name)
        if match is None:
            continue
        members = index.setdefault(match[1], {})
        extension = match[2].lower()
        if extension in members:
            raise RowError(f"{name} row {match[1]}: the shard holds {member.name!r} twice.")
        members[extension] = (member.offset_data, member.size)
    return index


def _first(members: dict[str, tuple[int, int]], candidates: tuple[str, ...]) -> tuple[int, int]:
    return next((members[extension] for extension in candidates if extension in members), _ABSENT)


def _contents(file: BinaryIO, offset: int, size: int, where: str) -> bytes | None:
    """The contents of one file of a row; None when the row has no such file."""
    if (offset, size) == _ABSENT:
        return None
    if size > MAX_BYTES:
        raise RowError(f"{where}: a file of the row has {size:,} bytes, but more than {MAX_BYTES:,} are refused.")
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise RowError(f"{where}: the tar file ends within the row.")
    return data


def _json_field(data: bytes | None, field: str, extensions: tuple[str, ...], where: str, optional: bool = False) -> Any:
    if data is None and optional:
        return None
    if data is None:
        raise RowError(f"{where}: there is no {field!r}; the extensions are {list(extensions)}.")
    try:
        fields = parse_object(data, "the json file")
    except JsonError as error:
        raise RowError(f"{where}: {error}.") from error
    if field not in fields and not optional:
        raise RowError(f"{where}: the json file has no field {field!r}; the fields are {list(fields)}.")
    return fields.get(field)
