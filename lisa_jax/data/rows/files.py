"""Finding the files of a source."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lisa_jax.files.foreign import foreign_kind
from lisa_jax.files.home import expanded
from lisa_jax.files.regular_file import IrregularFileError, check_regular

# What names the split in files and folders of hubs: train-00000-of-00017.parquet, cc3m-val-0003.tar, test/0.parquet.
_SPLIT = re.compile(
    r"(?:^|[-_.])(?P<split>train(?:ing)?|val(?:id(?:ation)?)?|test(?:ing)?|dev)(?=[-_.\d]|$)", re.IGNORECASE
)
_SPLITS = {"training": "train", "val": "validation", "valid": "validation", "testing": "test"}
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
        found = [file for file in paths_below(path) if file.name.endswith(suffix)]
        files = [file for file in found if not file.is_dir()]
        _refuse_bare_folders([folder for folder in found if folder.is_dir()], files, suffix)
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


def paths_below(folder: Path) -> Iterator[Path]:
    """All that lies in a folder and below it, links to folders followed, each folder once.

    Raises:
      OSError: a folder may not be listed.
    """
    seen = set()
    for here, folders, files in os.walk(folder, onerror=_raised, followlinks=True):
        # Of the disk itself, which nobody may list.
        if "lost+found" in folders:
            folders.remove("lost+found")
        # A folder that several links lead to has the same name wherever the files lie.
        folders.sort()
        place = os.stat(here)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        yield from (Path(here, name) for name in (*folders, *files))


def _raised(error: OSError) -> None:
    raise error


def _refuse_bare_folders(folders: Sequence[Path], files: Sequence[Path], suffix: str) -> None:
    """Raise ValueError for a folder that is called like a file and holds none, as a shard that was unpacked."""
    for folder in folders:
        if not any(file.is_relative_to(folder) for file in files):
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
    named = {path: splits for path in (file.relative_to(root) for file in files) if (splits := _splits_of(path))}
    if len(set(named.values())) > 1:
        # What all names have says nothing, as in crash-test-train-0.tar and crash-test-val-0.tar.
        common = frozenset.intersection(*named.values())
        own = {split: path.as_posix() for path, splits in named.items() for split in splits - common}
        pattern = re.sub(r"\d+", "*", glob.escape(own[min(own)]))
        raise ValueError(
            f"{location!r} holds several splits ({', '.join(sorted(own))}): name the files of one by a pattern such as "
            f"'{glob.escape(str(root))}/{pattern}'."
        )


def _splits_of(path: Path) -> frozenset[str]:
    """Splits that are named in a path."""
    words = (match["split"] for part in path.parts for match in _SPLIT.finditer(part))
    return frozenset(_SPLITS.get(word.lower(), word.lower()) for word in words)
