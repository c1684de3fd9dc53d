"""Captions beside files that no row is made of: told, for these examples would be missing without a word."""

import logging
from collections.abc import Container
from pathlib import Path

_LOG = logging.getLogger("lisa_jax")


def warn_of_left_out(folder: Path, stems: Container[str], what: str) -> None:
    """Warn of captions, `a.txt`, that have a file or folder beside them, `a.wmv`, of which no row is made.

    Args:
      folder: of the captions and what they are of.
      stems: names without endings that have a row.
      what: what rows are made of, as the warning says it.
    """
    beside: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.stem not in stems:
            beside.setdefault(path.stem, []).append(path.name)
    left = [names for stem, names in beside.items() if f"{stem}.txt" in names and len(names) > 1]
    if left:
        _LOG.warning(
            "%s: captions without a %s: %d, which are left out; the first ones are %s.",
            *(folder, what, len(left), "; ".join(" beside ".join(names) for names in left[:3])),
        )
