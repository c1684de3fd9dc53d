"""Files that a source names: below its own folder, regular, and where they are read whole of bounded size."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from lisa_jax.data.rows.row import RowError
from lisa_jax.files.regular_file import IrregularFileError, check_regular, read_regular
from lisa_jax.media.frame_files import frames_of
from lisa_jax.media.open_picture import MAX_BYTES, PictureError
from lisa_jax.parallel.messages import one_line

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def read_named(folder: Path, name: str, allow_outside: bool, what: str, where: str) -> bytes:
    """The contents of the file that a source names.

    Args:
      folder: what relative names are relative to, and where the file must lie, also behind links and "..".
      name: as the source has it.
      allow_outside: whether it may lie elsewhere.
      what: the column that names it, for the error message.
      where: the file and the row.

    Raises:
      RowError: it lies elsewhere, is no regular file, too large, or cannot be read.
    """
    with _named(name, what, where):
        return read_regular(_within(folder, name, allow_outside, what, where), MAX_BYTES)


def named_clip(folder: Path, name: str, allow_outside: bool, what: str, where: str) -> Path | tuple[Path, ...]:
    """The clip that a source names: a file, or the frames of a folder in order; nothing is read yet.

    Arguments and what is raised are those of `read_named`, apart from sizes: clips are read frame by frame.
    """
    with _named(name, what, where):
        path = _within(folder, name, allow_outside, what, where)
        if not path.is_dir():
            check_regular(path)
            return path
        frames = frames_of(path, where)
        for frame in frames:
            check_regular(_within(folder, f"{name}/{frame.name}", allow_outside, what, where))
        return tuple(frames)


def _within(folder: Path, name: str, allow_outside: bool, what: str, where: str) -> Path:
    if _ADDRESS.match(name):
        raise RowError(f"{where}: {name!r} of {what!r} is an address: download the pictures first, and name the files.")
    path = folder / name
    if not allow_outside and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise RowError(
            f"{where}: {name!r} of {what!r} lies outside of {folder}: move it there, or, where you trust the "
            "source, allow it by --allow_outside."
        )
    return path


@contextlib.contextmanager
def _named(name: str, what: str, where: str) -> Iterator[None]:
    try:
        yield
    except IrregularFileError as error:
        raise RowError(f"{where}: {what!r}: {error}.") from error
    except RowError:
        raise
    except PictureError as error:
        raise RowError(str(error)) from error
    # A name with NUL or of no encoding is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        hint = "; folders are separated by /, not by \\" if "\\" in name else ""
        raise RowError(f"{where}: {name!r} of {what!r} cannot be read ({reason}){hint}.") from error
