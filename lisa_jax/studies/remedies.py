"""Remedies beside the recipe that has none: at the same learning rate, and at the one that is best for the recipe.

A remedy is meant to shorten the wait for control: a learning rate for the layers that are not copied, another birth of
these, another epsilon of Adam. The recipe is plain training with none of them. What an arm gains over the recipe at its
own learning rate may only say that this rate is too small; what counts is the gain over the recipe at its best one.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from lisa_jax.studies.fields import FIELDS, usual
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.pairs import Arm, Row, final
from lisa_jax.studies.speedup import LOSS, falls, measured, speedup

REMEDY_FIELDS = tuple(name for name, field in FIELDS.items() if field.remedy)


@dataclasses.dataclass(frozen=True)
class Beside:
    """The runs of an arm, seed by seed, beside those of an arm of the recipe.

    Attributes:
      arm: with a remedy, with alignment, or with both; the recipe itself where `recipe` is another learning rate's.
      recipe: what it is compared with.
    """

    arm: Arm
    recipe: Arm

    def speedups(self, measure: str) -> list[float | None]:
        """Steps that the recipe needs for its own final value over those of the arm, None where that is not reached."""
        return [
            speedup(row["curve"], partner["curve"], measure, partner["cell"].num_steps)
            for row, partner in self._pairs()
            if min(len(measured(one["curve"], measure)) for one in (row, partner)) > 1
        ]

    def gains(self, measure: str) -> list[float]:
        """Final values minus the recipe's."""
        values = [(final(row, measure), final(partner, measure)) for row, partner in self._pairs()]
        return [value - other for value, other in values if None not in (value, other)]

    def _pairs(self) -> list[tuple[Row, Row]]:
        by_seed = {row["cell"].seed: row for row in self.recipe.rows}
        return [(row, by_seed[seed]) for row in self.arm.rows if (seed := row["cell"].seed) in by_seed]


def recipe_of(cell: Cell) -> Cell:
    """The recipe at the learning rate of a cell, and with its seed."""
    return dataclasses.replace(cell.plain, **{name: usual(name) for name in REMEDY_FIELDS})


def at_the_same_rate(arms: Sequence[Arm]) -> list[Beside]:
    """Every arm that is not the recipe's, beside the recipe of its learning rate, where that was run."""
    by_cell = {arm.cell: arm for arm in arms}
    pairs = [(arm, by_cell.get(recipe_of(arm.cell))) for arm in arms]
    return [Beside(arm, recipe) for arm, recipe in pairs if recipe is not None and recipe is not arm]


def at_the_best_rate(arms: Sequence[Arm], measure: str = LOSS) -> list[Beside]:
    """Every arm beside the recipe at the learning rate at which that ends best.

    Only the learning rate and the number of steps may be another one: task, batch and the rest are the arm's own.

    Args:
      arms: of a study.
      measure: what ends best: the mean over seeds of its final value.
    """
    best: dict[Cell, Arm] = {}
    for arm in arms:
        if arm.cell == recipe_of(arm.cell) and arm.finals(measure):
            group = _but_for_the_rate(arm.cell)
            best[group] = _better(best.get(group, arm), arm, measure)
    pairs = [(arm, best.get(_but_for_the_rate(recipe_of(arm.cell)))) for arm in arms]
    return [Beside(arm, recipe) for arm, recipe in pairs if recipe is not None and recipe is not arm]


def has_remedies(cells: Iterable[Cell]) -> bool:
    """Whether any of the cells has a remedy."""
    return any(cell.plain != recipe_of(cell) for cell in cells)


def _but_for_the_rate(cell: Cell) -> Cell:
    return dataclasses.replace(cell, learning_rate=0.0, num_steps=1)


def _better(one: Arm, other: Arm, measure: str) -> Arm:
    sign = 1.0 if falls(measure) else -1.0
    return min(
        (one, other), key=lambda arm: sign * np.mean([value for value in arm.finals(measure) if value is not None])
    )
