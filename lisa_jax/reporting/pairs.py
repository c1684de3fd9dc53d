"""Runs with LISA beside plain runs of the same setting and seed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from lisa_jax.reporting.words import sample_measures
from lisa_jax.studies.summary import COSTS, LOSS, SHARED, speedup

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
      cheapness: of COSTS: what a step of the plain run costs over a step of this run, where both rows say.
    """

    row: Row
    plain: Row
    gains: Mapping[str, float]
    speedups: Mapping[str, float | None]
    early: float | None
    cheapness: Mapping[str, float]

    def speedup_in(self, cost: str, measure: str) -> float | None:
        """The speed-up in "time" or "FLOPs" in place of steps."""
        speedup = self.speedups[measure]
        return None if speedup is None else speedup * self.cheapness[cost]


def shared(cell: Mapping[str, Any]) -> tuple:
    """What a pair has in common."""
    return tuple(cell[name] for name in SHARED)


def setting(cell: Mapping[str, Any]) -> tuple:
    """What the pairs of all seeds have in common."""
    return tuple(cell[name] for name in SHARED if name != "seed")


def final(row: Row, measure: str) -> float | None:
    """Last value of a measure, None where the run has none."""
    return next((point[measure] for point in reversed(row["curve"]) if point.get(measure) is not None), None)


def find_pairs(rows: Sequence[Row]) -> list[Pair]:
    """Every run with LISA that has a plain partner, in order."""
    plain = {shared(row["cell"]): row for row in rows if not row["cell"]["lam"]}
    pairs = []
    for row in rows:
        partner = plain.get(shared(row["cell"]))
        if not row["cell"]["lam"] or partner is None:
            continue
        measures = [
            name
            for name in (LOSS, *sample_measures([partner]))
            if final(row, name) is not None and final(partner, name) is not None
        ]
        steps = row["cell"]["num_steps"]
        curves = row["curve"], partner["curve"]
        steps_of = {
            name: [[point["step"] for point in curve if name in point] for curve in curves] for name in measures
        }
        last = {name: found[1][-1] for name, found in steps_of.items()}
        pairs.append(
            Pair(
                row,
                partner,
                {name: final(row, name) - final(partner, name) for name in measures},
                {name: speedup(*curves, name, last[name]) for name in measures if min(map(len, steps_of[name])) > 1},
                speedup(*curves, LOSS, min(steps / 4, last[LOSS])) if LOSS in measures else None,
                {
                    cost: partner[name] / row[name]
                    for cost, name in COSTS.items()
                    if row.get(name) and partner.get(name)
                },
            )
        )
    return pairs
