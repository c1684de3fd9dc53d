"""Finding the files of a source."""

import glob
import re
from pathlib import Path

from lisa_jax.files.foreign import foreign_kind
from lisa_jax.files.home import expanded
from lisa_jax.files.regular_file import IrregularFileError, check_regular

# Names that hubs give to the files or folders of one split: train-00000-of-00017.parquet, val_0003.tar, test/0.parquet.
_SPLIT = re.compile(r"(train|validation|valid|val|test|dev)([-_.]|$)")


_POINTER_BYTES = 1024


def matching_files(location: str, suffix: str) -> list[Path]:
    """The files of a glob pattern, a folder (all of `suffix` in and below it) or a single file, sorted by path.

    A name that is there is meant as it is written, whatever signs of patterns it has.

    Raises:
      ValueError: there is none, or one is a pipe, a device or the like.
      OSError: one is a link to nothing, or may not be seen.
    """
    path = expanded(location)
    if path.is_dir():
        # What is no file is not passed over: its rows would be missing without a word. Folders are, whose files are
        # found for themselves.
        files = [file for file in path.rglob(f"*{suffix}") if not file.is_dir()]
        _refuse_bare_folders(path, suffix)
    elif path.exists():
        files = [path]
    else:
        files = [Path(file) for file in glob.glob(str(path), recursive=True) if not Path(file).is_dir()]
    if not files:
        raise ValueError(f"No {suffix} files found at {location!r}.")
    for file in files:
        try:
            check_regular(file)
        except IrregularFileError as error:
            raise ValueError(f"{error}: leave it out of the source {location!r}.") from error
        # What a clone leaves where the files themselves were not fetched.
        if file.stat().st_size < _POINTER_BYTES and (kind := foreign_kind(file.read_bytes())):
            raise ValueError(f"{str(file)!r} is {kind}.")
    return sorted(files)


def _refuse_bare_folders(path: Path, suffix: str) -> None:
    """Raise ValueError for a folder that is called like a file and holds none, as a shard that was unpacked."""
    for folder in path.rglob(f"*{suffix}"):
        if folder.is_dir() and not any(folder.rglob(f"*{suffix}")):
            raise ValueError(f"{str(folder)!r} is a folder without {suffix} files: pack it, or take it away.")


def common_folder(files: list[Path]) -> Path:
    """The deepest folder that holds all the files; names relative to it survive moving the whole."""
    folder = files[0].parent
    while not all(file.is_relative_to(folder) for file in files):
        folder = folder.parent
    return folder


def check_one_split(files: list[Path], location: str) -> None:
    """ValueError when `location` is a folder whose files are of several splits, so that none is trained on unawares."""
    if not expanded(location).is_dir():
        return
    root = common_folder(files)
    splits = set()
    for file in files:
        parts = [*file.relative_to(root).parts[:-1], file.name]
        splits |= {match[1] for part in parts if (match := _SPLIT.match(part))}
    if len(splits) > 1:
        raise ValueError(
            f"{location!r} holds several splits ({', '.join(sorted(splits))}): name the files of one by a pattern such "
            f"as '{glob.escape(str(root))}/**/{min(splits)}-*{files[0].suffix}'."
        )
