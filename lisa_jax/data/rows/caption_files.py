"""Rows of a folder of pictures with captions in text files beside them, as sd-scripts reads them."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from lisa_jax.data.rows.left_out import warn_of_left_out
from lisa_jax.data.rows.named_file import read_named
from lisa_jax.data.rows.row import Columns, Row, RowError, captions_of, check_index, fingerprint_of, names_and_sizes
from lisa_jax.files.home import expanded
from lisa_jax.media.open_picture import endings

_LOG = logging.getLogger("lisa_jax")
_CAPTION = ".txt"


class CaptionFileRows:
    """One row for each picture, in the order of names: `a.jpg` has its caption in `a.txt`; see `Rows`.

    The pictures lie in the folder, or in the one folder below it that has captions. The column of a condition is a
    folder: below the source, or a path; its pictures have the images' names, endings apart.
    """

    def __init__(self, location: str, columns: Columns, allow_outside: bool = False):
        """Lists the folders, but reads no picture.

        Args:
          location: the folder.
          columns: `conditions` names folders; the default, `condition`, also means the only other folder with pictures.
          allow_outside: whether links may lead outside of a folder.

        Raises:
          ValueError: there are no pictures with captions, or in several folders; a folder of conditions is missing; a
            column that only tables have.
        """
        self._location = location
        self._columns = columns
        self._allow_outside = allow_outside
        root = expanded(location)
        self._folder = _captioned(root)
        self._images = _by_stem(self._folder)
        warn_of_left_out(self._folder, self._images, f"picture ({', '.join(endings())})")
        if columns.extras:
            raise ValueError(
                f"{location!r} has captions in text files, and no column {min(columns.extras.values())!r}."
            )
        self._conditions = {
            name: self._condition_folder(root, column, name) for name, column in columns.conditions.items()
        }
        self._pictures = {name: _by_stem(folder) for name, folder in self._conditions.items()}
        self._stems = sorted(self._images)

    def __len__(self) -> int:
        return len(self._stems)

    def __repr__(self) -> str:
        return f"CaptionFileRows({self._location!r}, {len(self)} rows)"

    def fingerprint(self) -> str:
        """A hash of the names and sizes of pictures and captions, and of the columns."""
        captions = [path for path in map(_caption_file, self._images.values()) if path.is_file()]
        files = names_and_sizes(sorted([*self._images.values(), *captions]), self._folder)
        for name, folder in sorted(self._conditions.items()):
            held = names_and_sizes(sorted(self._pictures[name].values()), folder)
            files += [(f"{name}/{file}", size) for file, size in held]
        return fingerprint_of("captions", files, self._columns)

    def __getitem__(self, index: int) -> Row:
        stem = self._stems[check_index(index, len(self), self)]
        image = self._images[stem]
        where = image.name
        captions = self._captions(_caption_file(image), where)
        return Row(
            where=where,
            image=self._read(image, "image", where),
            conditions={name: self._condition(name, stem, where) for name in self._conditions},
            caption=captions[0],
            extras={},
            more_captions=captions[1:],
        )

    def _read(self, file: Path, what: str, where: str) -> bytes:
        return read_named(file.parent, file.name, self._allow_outside, what, where)

    def _captions(self, file: Path, where: str) -> tuple[str, ...]:
        is_there = os.path.lexists(file)
        if not is_there and not self._columns.keep_empty:
            raise RowError(f"{where}: its caption {file.name} is missing.")
        text = self._read(file, "caption", where) if is_there else b""
        return captions_of(text, self._columns, where, file.name)

    def _condition(self, name: str, stem: str, where: str) -> bytes:
        if stem not in self._pictures[name]:
            raise RowError(f"{where}: there is no picture {stem!r} of {name!r} in {self._conditions[name]}.")
        return self._read(self._pictures[name][stem], name, where)

    def _condition_folder(self, root: Path, column: str, name: str) -> Path:
        for folder in (root / expanded(column), self._folder / expanded(column)):
            if folder.is_dir():
                return folder
        others = [path for path in _folders(root) if path != self._folder and any(_pictures(path))]
        if column == "condition" and len(others) == 1:
            _LOG.info("%s: the condition is taken from the folder %r.", self._location, others[0].name)
            return others[0]
        there = ", ".join(path.name for path in others) or "none"
        raise ValueError(
            f"{self._location!r} has no folder {column!r} of conditions (folders with pictures there: {there}): name "
            f"it, --condition_column={name}=FOLDER."
        )


def captioned_folders(root: Path) -> list[Path]:
    """The folder itself, or those right below it, in which pictures have captions beside them."""
    return [folder for folder in (root, *_folders(root)) if _has_captions(folder)]


def _captioned(root: Path) -> Path:
    if not root.is_dir():
        raise ValueError(f"{str(root)!r} is no folder.")
    found = captioned_folders(root)
    if len(found) != 1:
        there = ", ".join(str(path) for path in found) or "none"
        way = ": name that of the images by --source, and those of conditions by --condition_column" if found else ""
        raise ValueError(f"{str(root)!r} must hold one folder of pictures with .txt beside them (there: {there}){way}.")
    return found[0]


def _has_captions(folder: Path) -> bool:
    stems = {path.stem for path in _pictures(folder)}
    return any(path.stem in stems for path in folder.glob(f"*{_CAPTION}"))


def _by_stem(folder: Path) -> dict[str, Path]:
    """Stem -> picture; ValueError where two pictures have one stem, and thus one caption."""
    found: dict[str, Path] = {}
    for path in _pictures(folder):
        if path.stem in found:
            raise ValueError(f"{folder} holds both {found[path.stem].name} and {path.name}: rename one.")
        found[path.stem] = path
    return found


def _pictures(folder: Path) -> Iterable[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in endings())


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir())


def _caption_file(image: Path) -> Path:
    return image.with_suffix(_CAPTION)
