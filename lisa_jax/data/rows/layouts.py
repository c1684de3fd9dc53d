"""Data sets in layouts that are no source: what they are, and what to do with them."""

import os
from itertools import islice
from pathlib import Path

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_LISTINGS = (".jsonl", ".csv")
# Enough to know a layout by; a folder may hold millions.
_ENTRIES_SEEN = 1000


def unread_layout(folder: Path) -> str | None:
    """A clause that says what a folder without a listing holds and what to do, or None where that is not known."""
    names = _names(folder)
    below = {name: _names(folder / name) for name in names[:50] if (folder / name).is_dir()}
    if is_saved_to_disk(folder):
        return SAVED_TO_DISK
    if "prompt.json" in names:
        return (
            "it has the layout of ControlNet's own tutorial: name its listing, "
            f"--source={folder / 'prompt.json'} --image_column=target --condition_column=source --caption_column=prompt"
        )
    if inner := [name for name, held in below.items() if {"metadata.jsonl", "metadata.csv"} & set(held)]:
        return f"its folder {inner[0]!r} holds a listing: name that, --source={folder / inner[0]}"
    if others := [name for name in names if name.endswith(_LISTINGS)]:
        return f"if {others[0]!r} is the listing, name the file itself, --source={folder / others[0]}"
    if any(_has_captions(held) for held in [names, *below.values()]):
        return (
            "it holds pictures with captions in text files beside them, as sd-scripts reads them: list them in a "
            'metadata.jsonl, {"file_name": "img/0.jpg", "condition": "cond/0.png", "caption": "..."} a line'
        )
    return None


SAVED_TO_DISK = (
    "it holds Arrow files as save_to_disk of `datasets` writes them: write them as Parquet first, "
    "datasets.load_from_disk(FOLDER)['train'].to_parquet('train.parquet'), without ['train'] for a single split"
)


def is_saved_to_disk(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` of `datasets` writes, of one split or several, or one of its caches."""
    names = _names(folder)
    return "dataset_dict.json" in names or any(name.endswith(".arrow") for name in names)


def _has_captions(names: list[str]) -> bool:
    pictures = {Path(name).stem for name in names if name.lower().endswith(_PICTURES)}
    return any(name.endswith(".txt") and Path(name).stem in pictures for name in names)


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in islice(entries, _ENTRIES_SEEN))
    except OSError:
        return []
