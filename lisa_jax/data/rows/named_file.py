"""Files that a source names: below its own folder, regular, and of bounded size."""

import os
import re
from pathlib import Path

from lisa_jax.data.rows.row import RowError
from lisa_jax.files.regular_file import IrregularFileError, read_regular
from lisa_jax.media.open_picture import MAX_BYTES
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
    if _ADDRESS.match(name):
        raise RowError(f"{where}: {name!r} of {what!r} is an address: download the pictures first, and name the files.")
    path = folder / name
    try:
        if not allow_outside and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
            raise RowError(
                f"{where}: {name!r} of {what!r} lies outside of {folder}: move it there, or, where you trust the "
                "source, allow it by --allow_outside."
            )
        return read_regular(path, MAX_BYTES)
    except IrregularFileError as error:
        raise RowError(f"{where}: {what!r}: {error}.") from error
    except RowError:
        raise
    # A name with NUL or of no encoding is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        hint = "; folders are separated by /, not by \\" if "\\" in name else ""
        raise RowError(f"{where}: {name!r} of {what!r} cannot be read ({reason}){hint}.") from error
