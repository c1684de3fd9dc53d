"""Data sets in layouts that are no source: what they are, and what to do with them."""

import os
from itertools import islice
from pathlib import Path

from lisa_jax.media.clip import SUFFIXES

_LISTINGS = (".jsonl", ".csv")
# Enough to know a layout by; a folder may hold millions.
_ENTRIES_SEEN = 1000
_NAMES_TOLD = 8


def unread_layout(folder: Path) -> str | None:
    """A clause that says what a folder without a listing holds and what to do, or None where that is not known."""
    names = _names(folder)
    below = {name: _names(folder / name) for name in names[:50] if (folder / name).is_dir()}
    if any(name.endswith(".arrow") for name in names):
        return _CACHE
    if inner := [name for name, held in below.items() if {"metadata.jsonl", "metadata.csv"} & set(held)]:
        return f"its folder {inner[0]!r} holds a listing: name that, --source={folder / inner[0]}"
    if videos := [name for name in names if name.lower().endswith(SUFFIXES)]:
        return f"where clips such as {videos[0]!r} are meant, say how many --frames one has"
    if others := [name for name in names if name.endswith(_LISTINGS)]:
        return f"if {others[0]!r} is the listing, name the file itself, --source={folder / others[0]}"
    return None


_CACHE = (
    "it holds Arrow files without the state.json that save_to_disk of `datasets` writes beside them: save the data set "
    "by that, and name its folder"
)


def what_lies_in(folder: Path) -> str:
    """The first names in a folder, as a refusal tells them."""
    names = _names(folder)
    return ", ".join(names[:_NAMES_TOLD]) + (", ..." if len(names) > _NAMES_TOLD else "") or "nothing"


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _ENTRIES_SEEN))
    except OSError:
        return []
