"""The comparison: runs with LISA beside plain runs of the same seed, pair by pair and arm by arm."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_jax.studies.grid import Cell
from lisa_jax.studies.speedup import LOSS, measured, speedup

# What a step costs, as rows have it.
COSTS = {"time": "seconds_per_step", "FLOPs": "flops_per_step"}

# A finished run, see `results.read_rows`.
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A run with LISA and its plain run: same seed, start, batches and noise.

    Attributes:
      row, plain: the two runs.
      gains: measure -> final value minus the plain run's.
      speedups: measure -> steps that the plain run needs for its own final value over those of this run; None where
        this run does not reach it. Only of what both measured on the way, not at the end alone.
      early: the same for the validation loss that the plain run has after a quarter of its steps.
      cheapness: of COSTS: what a step of the plain run costs over a step of this run, where both rows say. In other
        hands than one quiet machine's, time is a rough measure.
    """

    row: Row
    plain: Row
    gains: Mapping[str, float]
    speedups: Mapping[str, float | None]
    early: float | None
    cheapness: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One setting and alignment over its seeds.

    Attributes:
      cell: of its runs, but for the seed.
      rows: its runs by seed.
      pairs: those of them that have a plain partner.
    """

    cell: Cell
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]

    def finals(self, measure: str) -> list[float | None]:
        """Values at the end, one a run, None where a run has none; nothing where no run has one."""
        values = [final(row, measure) for row in self.rows]
        return [] if all(value is None for value in values) else values

    def gains(self, measure: str) -> list[float]:
        """Final values minus those of plain training."""
        return [pair.gains[measure] for pair in self.pairs if measure in pair.gains]

    def early(self) -> list[float | None]:
        """Speed-ups to the validation loss that plain training has after a quarter of its steps."""
        return [pair.early for pair in self.pairs]

    def speedups(self, measure: str) -> list[float | None]:
        """Speed-ups in steps, None where plain training's final value is not reached."""
        return [pair.speedups[measure] for pair in self.pairs if measure in pair.speedups]

    def speedups_in(self, cost: str, measure: str) -> list[float | None]:
        """The same in "time" or "FLOPs" in place of steps, of pairs whose rows say what a step costs."""
        known = [pair for pair in self.pairs if measure in pair.speedups and cost in pair.cheapness]
        steps = [(pair.speedups[measure], pair.cheapness[cost]) for pair in known]
        return [None if speedup is None else speedup * cheapness for speedup, cheapness in steps]


def find_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Every run with LISA that has a plain partner, in order."""
    plain = {row["cell"]: row for row in rows if not row["cell"].lam}
    aligned = [row for row in rows if row["cell"].lam]
    return [_pair(row, partner) for row in aligned if (partner := plain.get(row["cell"].plain)) is not None]


def find_arms(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Arm]:
    """The arms of rows, plain training among them, in the order of their first row.

    Args:
      rows: of a study.
      pairs: what `find_pairs` found in these rows, or in more.
    """
    pair_of = {pair.row["cell"]: pair for pair in pairs}
    groups: dict[Cell, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["cell"].any_seed, []).append(row)
    arms = []
    for cell, members in groups.items():
        members = sorted(members, key=lambda row: row["cell"].seed)
        partnered = (pair_of.get(row["cell"]) for row in members)
        arms.append(Arm(cell, tuple(members), tuple(pair for pair in partnered if pair is not None)))
    return arms


def sample_measures(rows: Iterable[Row]) -> list[str]:
    """Measures of samples in rows: of fidelity, the first is the one that speed-ups are told for; then of quality."""
    names = dict.fromkeys(name for row in rows for point in row["curve"] for name in point)
    return [name for kind in ("fidelity/", "quality/") for name in names if name.startswith(kind)]


def final(row: Row, measure: str) -> float | None:
    """Value of a measure at the end, None where the run has none."""
    return row["curve"][-1].get(measure)


def _pair(row: Row, plain: Row) -> Pair:
    curves = row["curve"], plain["curve"]
    both = [name for name in (LOSS, *sample_measures([plain])) if None not in (final(row, name), final(plain, name))]
    on_the_way = [name for name in both if min(len(measured(curve, name)) for curve in curves) > 1]
    steps = row["cell"].num_steps
    return Pair(
        row,
        plain,
        gains={name: final(row, name) - final(plain, name) for name in both},
        speedups={name: speedup(*curves, name, steps) for name in on_the_way},
        early=speedup(*curves, LOSS, steps / 4) if LOSS in both else None,
        cheapness={
            cost: plain[field] / row[field] for cost, field in COSTS.items() if row.get(field) and plain.get(field)
        },
    )
