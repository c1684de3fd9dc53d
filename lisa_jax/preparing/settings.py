"""What decides a prepared data set, as it is noted beside it: a preparation is continued with the same alone.

Rows and bases are noted by their fingerprints. The flags that name them stand under `NAMED`: they are not compared, for
the same rows may lie elsewhere, but say what differs where fingerprints do.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lisa_jax.files.changes import changes

NAMED = "named"
# Setting that is a fingerprint -> what it is of.
_FINGERPRINTS = {"source": "other rows", "base": "another base"}


def check_same(begun: Mapping[str, Any], asked: Mapping[str, Any], folder: Path) -> None:
    """Raise ValueError, with what differs, unless a data set that was begun is the one that is asked for."""
    for name in sorted({*begun, *asked} - {NAMED}):
        before, now = begun.get(name), asked.get(name)
        if before == now:
            continue
        if name in _FINGERPRINTS and before and now:
            difference = f"from {_FINGERPRINTS[name]} ({_named_difference(name, begun, asked)})"
        else:
            difference = f"with {name} = {json.dumps(before)}, but now it is {json.dumps(now)}"
        raise ValueError(f"{folder} was made {difference}: give the same again, or another --out.")


def _named_difference(name: str, begun: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    before, now = ((settings.get(NAMED) or {}).get(name, {}) for settings in (begun, asked))
    if not before:
        return f"what {next(iter(now), 'it')} names was something else"
    return (
        "; ".join(changes(before, now)) or f"what {next(iter(now))}={next(iter(now.values()))} names has changed since"
    )
