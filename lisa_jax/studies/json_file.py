"""JSON files that several processes change: a cluster's array tasks share a study's folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lisa_jax.files.json_object import read_object
from lisa_jax.files.lock import alone
from lisa_jax.files.whole_file import write_whole_text


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a file; {} where there is none; JsonError where it is damaged."""
    return read_object(path) if Path(path).exists() else {}


def change_json(path: str | Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace what is in a file by change(what is in it), one process at a time; whoever reads sees all or nothing.

    The lock is a file `.lock` in its folder, which stays. The folder is made.
    """
    path = Path(path)
    with alone(path.parent / ".lock"):
        write_whole_text(path, json.dumps(change(read_json(path)), indent=2) + "\n")
