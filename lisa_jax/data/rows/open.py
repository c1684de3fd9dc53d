"""From a command line's --source to the rows behind it."""

from collections.abc import Callable

from lisa_jax.data.rows.image_folder import ImageFolderRows
from lisa_jax.data.rows.layouts import unread_layout
from lisa_jax.data.rows.listing import NAMES, SUFFIXES
from lisa_jax.data.rows.parquet import ParquetRows
from lisa_jax.data.rows.row import Columns, Rows
from lisa_jax.data.rows.tfds import TFDSRows
from lisa_jax.data.rows.webdataset import WebDatasetRows
from lisa_jax.files.home import expanded

_KINDS: dict[str, Callable[..., Rows]] = {
    "parquet": ParquetRows,
    "folder": ImageFolderRows,
    "webdataset": WebDatasetRows,
    "tfds": TFDSRows,
}

# Kinds whose rows may name files of pictures.
_NAME_FILES = ("folder", "parquet")

# Twice the largest set of pictures there is.
_MAX_ROWS = 10**10


def open_rows(spec: str, columns: Columns | None = None, allow_outside: bool = False) -> Rows:
    """The rows of a source.

    Args:
      spec: `parquet:GLOB_OR_DIR`, `folder:DIR_OR_LISTING`, `webdataset:GLOB_OR_DIR` or `tfds:DIR_OR_NAME[:SPLIT]`.
        Without the prefix the kind is recognised by what lies there: metadata.jsonl or metadata.csv,
        dataset_info.json, *.parquet, *.tar.
      columns: the names of the columns, by default `Columns()`.
      allow_outside: whether a listing or a table may name pictures outside of its folder.

    Raises:
      ValueError: the kind is not recognised, nothing is found, several splits are mixed, or there are no rows.
      RowError: a file cannot be read, or lacks a column.
    """
    kind, separator, location = spec.partition(":")
    if not separator or kind not in _KINDS:
        kind, location = _kind_of(spec), spec
    if not location:
        raise ValueError(f"The source {spec!r} names no place: use {kind}:PLACE.")
    options = {"allow_outside": allow_outside} if kind in _NAME_FILES else {}
    rows = _KINDS[kind](location, columns or Columns(), **options)
    if len(rows) == 0:
        raise ValueError(f"The source {spec!r} holds no rows.")
    if len(rows) > _MAX_ROWS:
        raise ValueError(
            f"The source {spec!r} says that it holds {len(rows):,} rows, more than any does: it is damaged."
        )
    return rows


def _kind_of(spec: str) -> str:
    path = expanded(spec)
    if path.is_dir():
        kinds = [
            kind
            for kind, patterns in {
                "folder": NAMES,
                "tfds": ("dataset_info.json",),
                "parquet": ("**/*.parquet",),
                "webdataset": ("**/*.tar",),
            }.items()
            if any(any(path.glob(pattern)) for pattern in patterns)
        ]
    else:
        suffixes = {"parquet": ".parquet", "webdataset": ".tar", "folder": SUFFIXES}
        kinds = [kind for kind, suffix in suffixes.items() if spec.endswith(suffix)]
    if len(kinds) == 1:
        return kinds[0]
    if not kinds and (layout := unread_layout(path)):
        raise ValueError(f"{spec!r} is no source that is recognised: {layout}.")
    found = f"could be any of {kinds}" if kinds else "is no source that is recognised"
    raise ValueError(f"{spec!r} {found}: write KIND:PLACE, where KIND is one of {list(_KINDS)}.")
