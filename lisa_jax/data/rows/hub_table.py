"""Data sets of the Hugging Face hub: the Parquet files of one split, `owner/name[@revision]`.

They are those of the repository, as the front matter of its README.md or the names of files and folders say it; else
those that the hub has made of it on its branch `refs/convert/parquet`. Nothing of a repository is executed.
"""

import fnmatch
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lisa_jax.data.rows.parquet import ParquetRows
from lisa_jax.data.rows.row import Columns, fingerprint_of
from lisa_jax.files.front_matter import front_matter
from lisa_jax.files.hub import DATASETS, at_commit, download, glob_of, hub_name, listing
from lisa_jax.files.hub_errors import HubError, NoRevisionError

_LOG = logging.getLogger("lisa_jax")
CONVERTED = "refs/convert/parquet"
CARD = "README.md"
# Every repository of the hub is made with one: with it the cache keeps a folder of a commit that has no card.
_ANYWHERE = ".gitattributes"
USUAL_SUBSET, USUAL_SPLIT = "default", "train"
# As hubs number the files of a split: train-00000-of-00017.parquet, 0000.parquet in a folder `train`.
_NUMBERED = re.compile(r"(?P<split>[\w.]*?)-?\d+(-of-\d+)?(-[0-9a-f]+)?", re.ASCII)
_COUNTED = re.compile(r"-\d+-of-(\d+)", re.ASCII)
# A folder that says nothing of its own.
_PLAIN = ("data",)
# Of what the hub has made of the beginning of a large split alone.
_BEGINNING = "partial-"
# What a source may consist of, once it lies here: shards, listings and their pictures.
_READ = (".tar", ".arrow", ".jsonl", ".csv", ".jpg", ".jpeg", ".png", ".webp")
_ENDINGS_TOLD = 6


class Part(NamedTuple):
    """A split of a subset, which the hub also calls a config."""

    subset: str
    split: str


class Table(NamedTuple):
    """The files of a split.

    Attributes:
      name: `owner/name@commit`, which gives the same files for ever.
      folder: the commit's in the hub's cache.
      paths: of the files in it, sorted.
    """

    name: str
    folder: Path
    paths: tuple[str, ...]


class HubRows(ParquetRows):
    """Rows of a split, see `ParquetRows`; known by its commit, for other contents may have the same sizes.

    Attributes:
      name: `owner/name@commit`.
    """

    def __init__(self, table: Table, columns: Columns, allow_outside: bool = False):
        """Reads the footers of all files; raises as `ParquetRows` does."""
        super().__init__([table.folder / path for path in table.paths], columns, allow_outside)
        self.name, self._paths = table.name, table.paths

    def fingerprint(self) -> str:
        """A hash of the repository, its commit, the paths of the files and the columns."""
        return fingerprint_of("hub", [(path, self.name) for path in self._paths], self._columns)


def fetch_table(spec: str, subset: str | None = None, split: str | None = None) -> Table:
    """The Parquet files of a split in the hub's cache; what is missing there is fetched.

    Args:
      spec: `owner/name[@revision]`, a branch, a tag or a commit.
      subset: None: the only one, or the one that is called "default".
      split: None: the only one, or the one that is called "train".

    Raises:
      HubError: see `files.hub.download`; a repository without Parquet files, or a subset or split that it does not have
        or that has to be named.
    """
    found = main = _found(spec)
    if not found.parts and "@" not in spec:
        try:
            found = _found(f"{spec}@{CONVERTED}")
        except NoRevisionError as error:
            raise HubError(_no_table(spec, main.paths)) from error
    if not found.parts:
        raise HubError(_no_table(spec, main.paths))
    chosen = _chosen(spec, list(found.parts), subset, split)
    paths = tuple(sorted(found.parts[chosen]))
    table = Table(found.name, download(found.name, [glob_of(path) for path in paths], DATASETS), paths)
    _check_whole(spec, [table.folder / path for path in paths], chosen.split)
    _LOG.info("%s: %d Parquet files of the subset %s, split %s.", table.name, len(table.paths), *chosen)
    return table


class _Found(NamedTuple):
    """A repository at a commit.

    Attributes:
      name: `owner/name@commit`.
      paths: of all its files.
      parts: subset and split -> paths of the Parquet files.
    """

    name: str
    paths: list[str]
    parts: dict[Part, list[str]]


def _found(spec: str) -> _Found:
    folder = download(spec, [CARD, _ANYWHERE], DATASETS)
    paths = listing(spec, folder, DATASETS)
    tables = [path for path in paths if path.endswith(".parquet")]
    said = _said(folder / CARD, tables) if CARD in paths else {}
    return _Found(at_commit(spec, folder), paths, said or _by_names(tables))


def _said(card: Path, tables: Sequence[str]) -> dict[Part, list[str]]:
    """As the front matter of the README.md says it; nothing where it does not."""
    found: dict[Part, list[str]] = {}
    for config in _mappings(front_matter(card), "configs"):
        name = str(config.get("config_name", USUAL_SUBSET))
        for entry in _mappings(config, "data_files") or [{"path": config.get("data_files")}]:
            if files := [path for path in tables if any(_matches(path, each) for each in _texts(entry.get("path")))]:
                found[Part(name, str(entry.get("split", USUAL_SPLIT)))] = files
    return found


def _texts(value: Any) -> list[str]:
    """One text, or those in a list."""
    listed = value if isinstance(value, list) else [value]
    return [one for one in listed if isinstance(one, str)]


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern is of a path; `*` stands for no more than one folder, `**` for any number."""
    if "**" in pattern:
        return any(fnmatch.fnmatchcase(path, each) for each in (pattern, pattern.replace("**/", "")))
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def _mappings(fields: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The mappings in a field that is a list; none where anything else is there."""
    listed = fields.get(name)
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []


def _by_names(tables: Sequence[str]) -> dict[Part, list[str]]:
    """As names say it: SUBSET/SPLIT/0000.parquet, SUBSET/SPLIT-00000-of-00002.parquet or data/SPLIT.parquet."""
    found: dict[Part, list[str]] = {}
    for path in tables:
        *folders, name = path.split("/")
        stem = name.removesuffix(".parquet")
        numbered = _NUMBERED.fullmatch(stem)
        split = numbered["split"] if numbered else stem
        if not split:
            split = folders.pop() if folders and folders[-1] not in _PLAIN else USUAL_SPLIT
        folders = [folder for folder in folders if folder not in _PLAIN]
        found.setdefault(Part("/".join(folders) or USUAL_SUBSET, split), []).append(path)
    return found


def _chosen(spec: str, parts: Sequence[Part], subset: str | None, split: str | None) -> Part:
    subset = _one(spec, "subset", sorted({part.subset for part in parts}), subset, USUAL_SUBSET)
    splits = sorted(part.split for part in parts if part.subset == subset)
    chosen = _one(spec, "split", splits, split, USUAL_SPLIT)
    if split is None and chosen.startswith(_BEGINNING):
        raise HubError(f"{spec}: the hub has made Parquet of a first part alone: take it by --split={chosen}.")
    return Part(subset, chosen)


def _one(spec: str, what: str, there: Sequence[str], asked: str | None, usual: str) -> str:
    if asked is not None and asked not in there:
        raise HubError(f"{spec} has no {what} {asked!r}: there are {', '.join(there)}.")
    chosen = asked or (there[0] if len(there) == 1 else usual)
    if chosen not in there:
        raise HubError(f"{spec} has several {what}s ({', '.join(there)}): choose one by --{what}.")
    return chosen


def _check_whole(spec: str, files: Sequence[Path], split: str) -> None:
    """Refuse what a cache has of a split, where names say that there is more."""
    counts = {int(found[1]) for file in files if (found := _COUNTED.search(file.name))}
    if len(counts) == 1 and len(files) < (count := counts.pop()):
        raise HubError(
            f"{spec}: {len(files)} of {count} files of {split} are in the cache: fetch them once while the hub can be "
            "reached, without HF_HUB_OFFLINE."
        )


def _no_table(spec: str, files: Sequence[str]) -> str:
    paths = [Path(path) for path in files]
    endings = Counter(path.suffix for path in paths if path.suffix).most_common(_ENDINGS_TOLD)
    there = ", ".join(f"{count} {ending}" for ending, count in endings) or "nothing"
    told = f"{spec} has no Parquet files, nor has the hub made any of it; there: {there}"
    if any(path.suffix == ".py" for path in paths) and not any(path.suffix in _READ for path in paths):
        return (
            f"{told}: a script is never run; where you trust it, load the data set by it in Python, call "
            "`save_to_disk(FOLDER)`, and give FOLDER."
        )
    return (
        f"{told}: fetch it by `hf download {hub_name(spec)} --repo-type dataset --local-dir FOLDER`, unpack archives "
        "of pictures, and give FOLDER."
    )
