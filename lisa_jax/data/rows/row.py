"""A row of a source, and what every source of rows promises."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lisa_jax.media.clip import StoredClip
from lisa_jax.media.decode import Picture

# Characters; encoders see a hundred tokens or a few hundred.
MAX_CAPTION = 2**16
# Of a row; each one's context is stored, some megabytes beside the largest encoders.
MAX_CAPTIONS = 32
# What a refusal says where a source's columns have other names.
NAME_COLUMNS = "name them by --image_column, --caption_column and --condition_column"


class RowError(ValueError):
    """A row, or a whole file of rows, cannot be used; the message begins with the file and the row."""


class Row(NamedTuple):
    """One row, pictures still encoded: read them by `media.decode.decode_picture` (or `read_labels` for class maps).

    Of a source of clips (`Columns.clips`) they are clips, which `media.open_clip.open_clip` reads.

    Attributes:
      where: the file and the row, as in "train-00003.parquet row 17"; every RowError begins with it.
      image: an encoded picture (JPEG, PNG, WebP, ...) or an array; or a clip.
      conditions: the same for each name in `Columns.conditions`.
      caption: without white space around it; empty only where `Columns.keep_empty` lets it. Of several, the first.
      extras: the values of `Columns.extras` by name; an encoded picture is bytes, everything else as it was stored.
      more_captions: the others, each as the first.
      start: number of the frame that a clip begins with, where several of a video are rows of their own.
      at: what messages say of that, as in " at 12.5 s".
      last: whether none of them comes after it.
    """

    where: str
    image: Picture | StoredClip
    conditions: Mapping[str, Picture | StoredClip]
    caption: str
    extras: Mapping[str, Any]
    more_captions: tuple[str, ...] = ()
    start: int = 0
    at: str = ""
    last: bool = True


@dataclass(frozen=True)
class Columns:
    """Where a row's parts are found in the source.

    Attributes:
      image: the column of the image.
      conditions: the column of each ready-made condition by the condition's name; {} when they are computed.
      caption: the column of the caption, a string, or a list of several; None: all rows have the empty one.
      extras: the columns of further values by name, for conditions that are computed from more than the image
        (`{"labels": "annotation"}` for `segmentation`).
      keep_empty: whether a caption that is missing or empty is the empty one, and no error of its row.
      caption_lines: whether each line of a caption is one of its own; lines of white space are none.
      clips: whether image and conditions are clips: files that are named are not read, folders of frames are taken,
        and a source without captions is taken, too.
    """

    image: str = "image"
    conditions: Mapping[str, str] = field(default_factory=lambda: {"condition": "condition"})
    caption: str | None = "caption"
    extras: Mapping[str, str] = field(default_factory=dict)
    keep_empty: bool = False
    caption_lines: bool = False
    clips: bool = False

    def pictures(self) -> list[str]:
        """The columns that must hold pictures: the image's and the conditions'."""
        return [self.image, *self.conditions.values()]

    def names(self) -> list[str]:
        """All columns, each once, sorted."""
        captions = () if self.caption is None else (self.caption,)
        return sorted({*self.pictures(), *captions, *self.extras.values()})


class Rows(Protocol):
    """Rows by index, always in the same order.

    Objects can be pickled for worker processes, which open the files anew; reading in order is cheap, and memory stays
    bounded however long the source is. `rows[i]` raises RowError for a row that cannot be used (a value is missing,
    the caption is empty, ...) and IndexError outside 0 ... len - 1. That a picture is damaged shows when decoding it.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Row: ...

    def fingerprint(self) -> str:
        """A hash of the names and sizes of the files and of the columns; another one means another source."""
        ...


def captions_of(value: Any, columns: Columns, where: str, named: str | None = None) -> tuple[str, ...]:
    """The captions in a stored value, at least one: a string, bytes in UTF-8, or a list of them, in its order.

    Args:
      value: what is stored; a list without any is a caption that is missing.
      columns: of the source.
      where: the file and the row.
      named: what messages call it, by default the caption's column.

    Raises:
      RowError: there are more than 32; one is missing or empty, unless `keep_empty` takes it as it is; it is not text,
        or longer than 65,536 characters.
    """
    stored = _listed(value)
    if columns.caption_lines:
        stored = [line for text in stored for line in _lines(text)]
    named = repr(columns.caption if named is None else named)
    if len(stored) > MAX_CAPTIONS:
        raise RowError(
            f"{where}: there are {len(stored):,} captions in {named}, but must be at most {MAX_CAPTIONS}: keep so many."
        )
    if len(stored) < 2:
        return (_caption(stored[0] if stored else None, f"in {named}", where, columns.keep_empty),)
    return tuple(
        _caption(text, f"in {named}, number {number} of {len(stored)},", where, columns.keep_empty)
        for number, text in enumerate(stored, 1)
    )


def _listed(value: Any) -> list[Any]:
    is_list = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)
    return list(value) if is_list else [value]


def _lines(text: Any) -> list[Any]:
    return [line for line in text.splitlines() if line.strip()] if isinstance(text, (bytes, str)) else [text]


def _caption(value: Any, place: str, where: str, keep_empty: bool) -> str:
    if isinstance(value, (bytes, str)) and len(value) > MAX_CAPTION:
        raise RowError(f"{where}: the caption {place} is {len(value):,} long, but must be at most {MAX_CAPTION:,}.")
    problem = None
    try:
        value = value.decode("utf-8-sig") if isinstance(value, bytes) else value
        # JSON can hold halves of characters.
        _ = value.encode("utf-8") if isinstance(value, str) else value
    except UnicodeError as error:
        problem = f"is not UTF-8 text ({error})"
    if value is None or (isinstance(value, str) and not value.strip()):
        if keep_empty:
            return ""
        problem = "is empty"
    elif not isinstance(value, (str, bytes)):
        problem = f"is of type {type(value).__name__}, but must be text"
    elif isinstance(value, str) and "\0" in value:
        problem = "holds a NUL: it is binary, or text in UTF-16, and must be UTF-8"
    if problem:
        raise RowError(f"{where}: the caption {place} {problem}.")
    return value.strip()


def check_index(index: int, length: int, rows: Any) -> int:
    """`index` as an int; IndexError when it is outside 0 ... length - 1."""
    index = index.__index__()
    if not 0 <= index < length:
        raise IndexError(f"Row {index} is out of range: {rows!r} has {length} rows.")
    return index


def fingerprint_of(kind: str, files: Iterable[tuple[str, int | str]], columns: Columns) -> str:
    """Hash of the kind of source, its files (name, size) in order, and the columns."""
    described = {
        "kind": kind,
        "files": [list(file) for file in files],
        "columns": [columns.image, dict(columns.conditions), columns.caption, dict(columns.extras)],
    }
    # Other sources keep the hash that they have always had.
    described |= {name: True for name in ("keep_empty", "caption_lines", "clips") if getattr(columns, name)}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def names_and_sizes(files: Iterable[Path], root: Path) -> list[tuple[str, int]]:
    """Name relative to root and size in bytes of each file."""
    return [(file.relative_to(root).as_posix(), file.stat().st_size) for file in files]
