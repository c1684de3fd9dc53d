"""Data sets of the Hugging Face hub: the Parquet files of one split, `owner/name[@revision]`.

They are those of the repository, as the front matter of its README.md or the names of files and folders say it; else
those that the hub has made of it on its branch `refs/convert/parquet`. Nothing of a repository is executed.
"""

import fnmatch
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lisa_jax.files.hub import DATASETS, HubError, NoRevisionError, download, hub_name, listing

_LOG = logging.getLogger("lisa_jax")
CONVERTED = "refs/convert/parquet"
CARD = "README.md"
USUAL_SUBSET, USUAL_SPLIT = "default", "train"
# As hubs number the files of a split: train-00000-of-00017.parquet, 0000.parquet in a folder `train`.
_NUMBERED = re.compile(r"(?P<split>[\w.]*?)-?\d+(-of-\d+)?(-[0-9a-f]+)?", re.ASCII)
_COUNTED = re.compile(r"-\d+-of-(\d+)", re.ASCII)
_FRONT_MATTER = re.compile(r"---\s*\n(.*?)\n---\s*(\n|$)", re.DOTALL)
# A folder that says nothing of its own.
_PLAIN = ("data",)


class Part(NamedTuple):
    """A split of a subset, which the hub also calls a config."""

    subset: str
    split: str


def fetch_table(spec: str, subset: str | None = None, split: str | None = None) -> list[Path]:
    """The Parquet files of a split in the hub's cache, sorted by path; what is missing there is fetched.

    Args:
      spec: `owner/name[@revision]`, a branch, a tag or a commit.
      subset: None: the only one, or the one that is called "default".
      split: None: the only one, or the one that is called "train".

    Raises:
      HubError: see `files.hub.download`; a repository without Parquet files, or a subset or split that it does not have
        or that has to be named.
    """
    parts = _parts(spec)
    where = spec
    if not parts and "@" not in spec:
        where = f"{spec}@{CONVERTED}"
        try:
            parts = _parts(where)
        except NoRevisionError as error:
            raise HubError(_no_table(spec)) from error
    if not parts:
        raise HubError(_no_table(spec))
    chosen = _chosen(spec, list(parts), subset, split)
    folder = download(where, [glob_of(path) for path in parts[chosen]], DATASETS)
    files = sorted(folder / path for path in parts[chosen])
    _check_whole(spec, files, chosen.split)
    _LOG.info(
        "%s: %d Parquet files of the subset %s, split %s, at commit %s.",
        *(hub_name(spec) or spec, len(files), *chosen, folder.name),
    )
    return files


def _parts(spec: str) -> dict[Part, list[str]]:
    """Subset and split -> paths of the files."""
    paths = listing(spec, DATASETS)
    tables = [path for path in paths if path.endswith(".parquet")]
    if not tables:
        return {}
    said = _said(download(spec, [CARD], DATASETS) / CARD, tables) if CARD in paths else {}
    return said or _by_names(tables)


def _said(card: Path, tables: Sequence[str]) -> dict[Part, list[str]]:
    """As the front matter of the README.md says it; nothing where it does not."""
    matter = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace"))
    try:
        said = yaml.safe_load(matter[1]) if matter else None
    except yaml.YAMLError:
        return {}
    found: dict[Part, list[str]] = {}
    for config in _mappings(said, "configs"):
        name = str(config.get("config_name", USUAL_SUBSET))
        for entry in _mappings(config, "data_files"):
            patterns = entry.get("path", ())
            patterns = [patterns] if isinstance(patterns, str) else patterns
            files = [path for path in tables for pattern in patterns if fnmatch.fnmatchcase(path, str(pattern))]
            if files:
                found[Part(name, str(entry.get("split", USUAL_SPLIT)))] = files
    return found


def _mappings(value: Any, name: str) -> list[Mapping[str, Any]]:
    """The mappings in a list that is a field of a mapping; none where anything else is there."""
    listed = value.get(name) if isinstance(value, Mapping) else None
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
    return Part(subset, _one(spec, "split", splits, split, USUAL_SPLIT))


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
            f"{spec}: {len(files)} of {count} files of {split} are in the cache: fetch them once without "
            "HF_HUB_OFFLINE."
        )


def _no_table(spec: str) -> str:
    return (
        f"{spec} has no Parquet files, nor has the hub made any of it: download it by `hf download {hub_name(spec)} "
        "--repo-type dataset --local-dir FOLDER`, and give what lies there."
    )


def glob_of(path: str) -> str:
    """A pattern that this path alone matches."""
    return re.sub(r"([*?[])", r"[\1]", path)
