"""The best checkpoint of a run, which stays beside the newest ones: by which score, and what Orbax is told."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# What checkpoints may be told apart by, as validation logs it: losses, of which the smallest is the best.
SCORES = ("validation/main_loss", *(f"validation/main_loss_q{quartile}" for quartile in range(1, 5)))


def score_of(scalars: Mapping[str, float], name: str | None) -> dict[str, float]:
    """The score to keep with a checkpoint, of all that evaluations said after its step; {} where it has none.

    A step that was not validated has none, and a loss that is not finite counts for nothing. With no name nothing does.
    """
    return {name: scalars[name]} if math.isfinite(scalars.get(name, math.nan)) else {}


def best_step(steps: Iterable[int], scores: Mapping[int, Mapping[str, float]], name: str) -> int | None:
    """The step with the smallest score of a name, the first of several; None where none of them has one."""
    scored = [(scores[step][name], step) for step in steps if name in scores.get(step, {})]
    return min(scored)[1] if scored else None


class NewestAndBest:
    """Which checkpoints stay: the newest ones, and the best. An Orbax `PreservationPolicy`.

    Args:
      keep: how many of the newest ones.
      best: steps -> the best of them, or None.
    """

    def __init__(self, keep: int, best: Callable[[Sequence[int]], int | None]):
        self._keep, self._best = keep, best

    def kept(self, steps: Sequence[int]) -> set[int | None]:
        """The steps of those that stay."""
        return {*sorted(steps)[-self._keep :], self._best(steps)}

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        """What Orbax asks of all checkpoints, each with its `step`, whenever another one is saved."""
        del context
        kept = self.kept([checkpoint.step for checkpoint in checkpoints])
        return [checkpoint.step in kept for checkpoint in checkpoints]
