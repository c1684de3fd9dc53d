"""From a command line's --source to the rows behind it."""

import logging
from collections.abc import Callable
from pathlib import Path

from lisa_jax.data.rows.arrow import SPLITS, STATE, ArrowRows
from lisa_jax.data.rows.caption_files import CaptionFileRows, captioned_folders
from lisa_jax.data.rows.clip_folder import ClipFolderRows
from lisa_jax.data.rows.files import paths_below
from lisa_jax.data.rows.hub_table import HubRows, fetch_table
from lisa_jax.data.rows.image_folder import ImageFolderRows
from lisa_jax.data.rows.layouts import unread_layout, what_lies_in
from lisa_jax.data.rows.listing import NAMES, SUFFIXES
from lisa_jax.data.rows.parquet import ParquetRows
from lisa_jax.data.rows.row import Columns, Rows
from lisa_jax.data.rows.tfds import TFDSRows
from lisa_jax.data.rows.webdataset import WebDatasetRows
from lisa_jax.files.home import expanded
from lisa_jax.files.hub import hub_name

_KINDS: dict[str, Callable[..., Rows]] = {
    "parquet": ParquetRows,
    "folder": ImageFolderRows,
    "webdataset": WebDatasetRows,
    "tfds": TFDSRows,
    "arrow": ArrowRows,
    "captions": CaptionFileRows,
    "clips": ClipFolderRows,
}

_LOG = logging.getLogger("lisa_jax")

# Kind -> how its files are called, where a folder or a file is given.
_NAMES = {
    "folder": NAMES,
    "tfds": ("dataset_info.json",),
}
_SHARDS = {"parquet": ".parquet", "webdataset": ".tar"}
_SUFFIXES = {**_SHARDS, "folder": SUFFIXES}
# Kinds whose rows may name files of pictures, or be links.
_NAME_FILES = ("folder", "parquet", "arrow", "captions", "clips")
_PICTURES_ALONE = ("tfds", "captions")

_LOOKED_FOR = f"{', '.join(NAMES)}, {STATE}, dataset_info.json, *.parquet, *.tar, pictures with .txt beside them"

# Twice the largest set of pictures there is.
_MAX_ROWS = 10**10


def open_rows(
    spec: str,
    columns: Columns | None = None,
    allow_outside: bool = False,
    *,
    subset: str | None = None,
    split: str | None = None,
) -> Rows:
    """The rows of a source.

    Args:
      spec: `parquet:GLOB_OR_DIR`, `folder:DIR_OR_LISTING`, `webdataset:GLOB_OR_DIR`, `tfds:DIR_OR_NAME[:SPLIT]`,
        `arrow:DIR`, `captions:DIR` or, of clips, `clips:DIR`. Without the prefix the kind is recognised by what lies
        there: metadata.jsonl, metadata.csv or prompt.json (also in its folder train), state.json or dataset_dict.json,
        dataset_info.json, *.parquet, *.tar, pictures with .txt files beside them; of clips a folder without any of
        them. Or `owner/name[@revision]` of the Hugging Face hub.
      columns: the names of the columns, by default `Columns()`.
      allow_outside: whether a listing or a table may name pictures outside of its folder.
      subset, split: of a data set of the hub, see `fetch_table`.

    Raises:
      HubError: see `fetch_table`.
      ValueError: the kind is not recognised, nothing is found, several splits are mixed, or there are no rows.
      RowError: a file cannot be read, or lacks a column.
    """
    columns = columns or Columns()
    if hub_name(spec) is not None:
        rows = HubRows(fetch_table(spec, subset, split), columns, allow_outside)
    else:
        refuse_choice(spec, subset, split)
        rows = _local_rows(spec, columns, allow_outside)
    if len(rows) == 0:
        raise ValueError(f"The source {spec!r} holds no rows.")
    if len(rows) > _MAX_ROWS:
        raise ValueError(
            f"The source {spec!r} says that it holds {len(rows):,} rows, more than any does: it is damaged."
        )
    return rows


def refuse_choice(spec: str, subset: str | None, split: str | None) -> None:
    """Refuse a subset or a split of a source that is no data set of the hub, by ValueError."""
    if subset is not None or split is not None:
        raise ValueError(
            f"--subset and --split are of data sets of the hub, but the source is {spec!r}: name the files of a split "
            "by a pattern."
        )


def _local_rows(spec: str, columns: Columns, allow_outside: bool) -> Rows:
    kind, separator, location = spec.partition(":")
    if not separator or kind not in _KINDS:
        kind, location = _recognised(spec, columns.clips)
    if not location:
        raise ValueError(f"The source {spec!r} names no place: use {kind}:PLACE.")
    if kind == "clips" and not columns.clips:
        raise ValueError(f"The source {spec!r} is one of clips: say how many --frames one has.")
    if columns.clips and kind in _PICTURES_ALONE:
        raise ValueError(f"The source {spec!r} is of kind {kind}, which holds pictures and no clips.")
    options = {"allow_outside": allow_outside} if kind in _NAME_FILES else {}
    return _KINDS[kind](location, columns, **options)


def _recognised(spec: str, clips: bool) -> tuple[str, str]:
    """The kind of a source without a prefix, and where its rows are; ValueError where that is not clear."""
    path = expanded(spec)
    kinds = _kinds(path) if path.is_dir() else [kind for kind, suffix in _SUFFIXES.items() if spec.endswith(suffix)]
    if len(kinds) == 1:
        return kinds[0], spec
    if not kinds and path.is_dir():
        if any((path / "train" / name).is_file() for name in NAMES):
            _LOG.info("%s: the rows are those of its folder train; name another folder for others.", spec)
            return "folder", str(path / "train")
        if clips:
            return "clips", spec
        if captioned_folders(path):
            return "captions", spec
    raise ValueError(f"{spec!r} {_why_not(path, kinds)}.")


def _kinds(folder: Path) -> list[str]:
    """The kinds of source that a folder may be."""
    # It has a dataset_info.json, too.
    if any((folder / name).is_file() for name in (STATE, SPLITS)):
        return ["arrow"]
    named = [kind for kind, names in _NAMES.items() if any((folder / name).exists() for name in names)]
    below = {path.suffix for path in paths_below(folder)}
    return named + [kind for kind, suffix in _SHARDS.items() if suffix in below]


def _why_not(path: Path, kinds: list[str]) -> str:
    """What is not clear about a source of these kinds, and what to do."""
    if not kinds and (layout := unread_layout(path)):
        return f"is no source that is recognised: {layout}"
    found = f"could be any of {kinds}" if kinds else "is no source that is recognised"
    if not kinds and path.is_dir():
        found += f" (looked for {_LOOKED_FOR}; there: {what_lies_in(path)})"
    elif not kinds and not path.exists():
        found += " (there is no such file or folder)"
    return f"{found}: write KIND:PLACE, where KIND is one of {list(_KINDS)}"
