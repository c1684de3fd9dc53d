"""Several paths in one flag."""

import re
from pathlib import Path


def split_paths(text: str) -> list[str]:
    """Paths with commas between; a comma in the name of something that is there is part of the name."""
    parts, found = text.split(","), []
    while parts:
        taken = next((n for n in range(len(parts), 1, -1) if _is_there(",".join(parts[:n]))), 1)
        path, parts = ",".join(parts[:taken]), parts[taken:]
        found.append(path if _is_there(path) else path.strip())
    return list(filter(None, found))


def split_named_paths(text: str) -> list[str]:
    """Pairs name=PATH with commas between; a comma that no name= follows is part of the path."""
    return re.split(r",(?=[^\W\d]\w*=)", text)


def _is_there(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    # A list may be longer than a name can be.
    except OSError:
        return False
