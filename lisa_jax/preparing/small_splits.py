"""Sets so small that chance leaves a split empty: told before anything is encoded."""

import logging
import math

from lisa_jax.data.rows import RowError, Rows
from lisa_jax.preparing.images import rank_of

_LOG = logging.getLogger("lisa_jax")

# Where more rows are expected in the smaller split, chance does not leave it empty; and no more rows are read for this.
_EXPECTED = 20
_ROWS_READ = 2000
_RANKS = 2**64


def warn_of_empty_splits(rows: Rows, test_fraction: float) -> None:
    """Warn where all of a few rows fall on the same side, though both are asked for."""
    expected = len(rows) * min(test_fraction, 1 - test_fraction)
    if len(rows) > _ROWS_READ or not 0 < expected < _EXPECTED:
        return
    ranks: set[int] = set()
    for index in range(len(rows)):
        try:
            ranks.add(rank_of(rows[index]))
        # Told in its turn.
        except RowError:
            continue
        if ranks and min(ranks) < test_fraction * _RANKS <= max(ranks):
            return
    if ranks:
        split = "test" if test_fraction * _RANKS <= min(ranks) else "train"
        _LOG.warning(
            "None of the rows (%d) falls into the %s split by --test_fraction=%g, and training needs both: %s.",
            *(len(rows), split, test_fraction, _way_out(sorted(ranks))),
        )


def _way_out(ranks: list[int]) -> str:
    least, most = math.floor(ranks[0] / _RANKS * 100 + 1) / 100, math.floor(ranks[-1] / _RANKS * 100) / 100
    return f"give one from {least:g} to {most:g}" if least <= most else "give more rows"
