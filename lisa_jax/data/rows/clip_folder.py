"""Rows of a folder of clips: video files and folders of frames, with conditions in other folders."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from lisa_jax.data.rows.left_out import warn_of_left_out
from lisa_jax.data.rows.named_file import named_clip, read_named
from lisa_jax.data.rows.row import Columns, Row, RowError, captions_of, check_index, fingerprint_of, names_and_sizes
from lisa_jax.files.home import expanded
from lisa_jax.media.clip import SUFFIXES, StoredClip
from lisa_jax.media.frame_files import holds_frames

_LOG = logging.getLogger("lisa_jax")
_CAPTION = ".txt"


class ClipFolderRows:
    """One row for each clip, in the order of names; see `Rows`.

    A clip is a video file, or a folder of frames; `a.mp4` or `a/` has its caption in `a.txt`. Without any such file no
    row has a caption. The columns of image and conditions are folders below the source, or paths; clips of one name,
    endings apart, are a row.
    """

    def __init__(self, location: str, columns: Columns, allow_outside: bool = False):
        """Lists the folders, but opens no clip.

        Args:
          location: the folder of the clips, or one that holds them in a folder called like the image's column.
          columns: `conditions` names folders.
          allow_outside: whether links may lead outside of a folder.

        Raises:
          ValueError: there are no clips, a folder of conditions is missing, two clips are of one name, or there is a
            column that only tables have.
        """
        self._location = location
        self._columns = columns
        self._allow_outside = allow_outside
        root = expanded(location)
        if columns.extras:
            raise ValueError(f"{location!r} is a folder of clips, without a column {min(columns.extras.values())!r}.")
        self._folder = root / columns.image if (root / columns.image).is_dir() else root
        self._clips = _by_stem(self._folder)
        if not self._clips:
            raise ValueError(
                f"{str(self._folder)!r} holds no clips, which are files ({', '.join(SUFFIXES)}) and folders of frames."
            )
        self._conditions = {
            name: self._condition_folder(root, column, name) for name, column in columns.conditions.items()
        }
        self._clips_of = {name: _by_stem(folder) for name, folder in self._conditions.items()}
        warn_of_left_out(self._folder, self._clips, f"clip ({', '.join(SUFFIXES)}, folders of frames)")
        self._stems = sorted(self._clips)
        self._has_captions = any(self._caption_file(stem).is_file() for stem in self._stems)
        if not self._has_captions:
            _LOG.info("%s: there are no captions (.txt beside the clips): all have the empty one.", location)

    def __len__(self) -> int:
        return len(self._stems)

    def __repr__(self) -> str:
        return f"ClipFolderRows({self._location!r}, {len(self)} rows)"

    def fingerprint(self) -> str:
        """A hash of the names and sizes of clips, frames and captions, and of the columns."""
        captions = [path for path in map(self._caption_file, self._stems) if path.is_file()]
        files = names_and_sizes(sorted([*_files(self._clips.values()), *captions]), self._folder)
        for name, folder in sorted(self._conditions.items()):
            held = names_and_sizes(_files(self._clips_of[name].values()), folder)
            files += [(f"{name}/{file}", size) for file, size in held]
        return fingerprint_of("clips", files, self._columns)

    def __getitem__(self, index: int) -> Row:
        stem = self._stems[check_index(index, len(self), self)]
        clip = self._clips[stem]
        where = clip.name
        captions = self._captions(stem, where)
        return Row(
            where=where,
            image=self._read(clip, "image", where),
            conditions={name: self._condition(name, stem, where) for name in self._conditions},
            caption=captions[0],
            extras={},
            more_captions=captions[1:],
        )

    def _read(self, clip: Path, what: str, where: str) -> StoredClip:
        return named_clip(clip.parent, clip.name, self._allow_outside, what, where)

    def _caption_file(self, stem: str) -> Path:
        return self._folder / f"{stem}{_CAPTION}"

    def _captions(self, stem: str, where: str) -> tuple[str, ...]:
        if not self._has_captions:
            return ("",)
        file = self._caption_file(stem)
        is_there = os.path.lexists(file)
        if not is_there and not self._columns.keep_empty:
            raise RowError(f"{where}: its caption {file.name} is missing.")
        text = read_named(file.parent, file.name, self._allow_outside, "caption", where) if is_there else b""
        return captions_of(text, self._columns, where, file.name)

    def _condition(self, name: str, stem: str, where: str) -> StoredClip:
        if stem not in self._clips_of[name]:
            raise RowError(f"{where}: there is no clip {stem!r} of {name!r} in {self._conditions[name]}.")
        return self._read(self._clips_of[name][stem], name, where)

    def _condition_folder(self, root: Path, column: str, name: str) -> Path:
        for folder in (root / expanded(column), root.parent / expanded(column)):
            if folder.is_dir():
                return folder
        raise ValueError(
            f"{self._location!r} has no folder {column!r} of conditions in it or beside it: name it, "
            f"--condition_column={name}=FOLDER."
        )


def _by_stem(folder: Path) -> dict[str, Path]:
    """Name without ending -> clip; ValueError where two clips have one, and thus one caption and one condition."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        is_file = path.suffix.lower() in SUFFIXES and not path.is_dir()
        if not is_file and not holds_frames(path):
            continue
        stem = path.stem if is_file else path.name
        if stem in found:
            raise ValueError(f"{folder} holds both {found[stem].name} and {path.name}: rename one.")
        found[stem] = path
    return found


def _files(clips: Iterable[Path]) -> list[Path]:
    """The files that clips consist of, sorted."""
    return sorted(file for clip in clips for file in (clip.iterdir() if clip.is_dir() else [clip]) if file.is_file())
