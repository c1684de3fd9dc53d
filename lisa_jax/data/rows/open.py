"""From a command line's --source to the rows behind it."""

from collections.abc import Callable
from pathlib import Path

from lisa_jax.data.rows.image_folder import METADATA, ImageFolderRows
from lisa_jax.data.rows.parquet import ParquetRows
from lisa_jax.data.rows.row import Columns, Rows
from lisa_jax.data.rows.tfds import TFDSRows
from lisa_jax.data.rows.webdataset import WebDatasetRows

_KINDS: dict[str, Callable[[str, Columns], Rows]] = {
    "parquet": ParquetRows,
    "folder": ImageFolderRows,
    "webdataset": WebDatasetRows,
    "tfds": TFDSRows,
}


def open_rows(spec: str, columns: Columns | None = None) -> Rows:
    """The rows of a source.

    Args:
      spec: `parquet:GLOB_OR_DIR`, `folder:DIR`, `webdataset:GLOB_OR_DIR` or `tfds:DIR_OR_NAME[:SPLIT]`. Without the
        prefix the kind is recognised by what lies there: metadata.jsonl or metadata.csv, dataset_info.json, *.parquet,
        *.tar.
      columns: the names of the columns, by default `Columns()`.

    Raises:
      ValueError: the kind is not recognised, nothing is found, several splits are mixed, or there are no rows.
      RowError: a file cannot be read, or lacks a column.
    """
    kind, separator, location = spec.partition(":")
    if not separator or kind not in _KINDS:
        kind, location = _kind_of(spec), spec
    if not location:
        raise ValueError(f"The source {spec!r} names no place: use {kind}:PLACE.")
    rows = _KINDS[kind](location, columns or Columns())
    if len(rows) == 0:
        raise ValueError(f"The source {spec!r} holds no rows.")
    return rows


def _kind_of(spec: str) -> str:
    folder = Path(spec).expanduser()
    if folder.is_dir():
        kinds = [
            kind
            for kind, patterns in {
                "folder": METADATA,
                "tfds": ("dataset_info.json",),
                "parquet": ("**/*.parquet",),
                "webdataset": ("**/*.tar",),
            }.items()
            if any(any(folder.glob(pattern)) for pattern in patterns)
        ]
    else:
        kinds = [
            kind for kind, suffix in {"parquet": ".parquet", "webdataset": ".tar"}.items() if spec.endswith(suffix)
        ]
    if len(kinds) != 1:
        found = f"could be any of {kinds}" if kinds else "is no source that is recognised"
        raise ValueError(f"{spec!r} {found}: write KIND:PLACE, where KIND is one of {list(_KINDS)}.")
    return kinds[0]
