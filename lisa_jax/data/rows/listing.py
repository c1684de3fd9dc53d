"""Where the listing of an image folder is."""

from pathlib import Path

from lisa_jax.data.rows.layouts import unread_layout, what_lies_in
from lisa_jax.files.home import expanded

# prompt.json is that of ControlNet's own tutorial.
NAMES = ("metadata.jsonl", "metadata.csv", "prompt.json")
SUFFIXES = (".jsonl", ".json", ".csv")


def find_listing(location: str) -> Path:
    """The listing that `location` is, or that the folder `location` holds.

    Raises:
      ValueError: there is none, or a folder holds several.
    """
    path = expanded(location)
    # What is there and no file is told by those who read it.
    if path.exists() and not path.is_dir():
        return path
    found = [path / name for name in NAMES if (path / name).exists()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ValueError(f"{location!r} holds both {names}: name the file itself, as in {str(found[0])!r}.")
    if not found:
        layout = unread_layout(path)
        lacks = f"must hold one of {', '.join(NAMES)}, but holds none (there: {what_lies_in(path)})"
        problem = lacks if path.is_dir() else "is no folder"
        raise ValueError(f"{location!r} {problem}" + (f": {layout}." if layout else "."))
    return found[0]
