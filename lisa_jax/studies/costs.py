"""What the steps of a run cost: seconds by the clock, operations and memory by XLA."""

import time
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from lisa_jax.parallel.compiling import Announced


class XlaCost(NamedTuple):
    """Of a compiled step: operations, and bytes of temporary buffers; None where they are not known."""

    flops: float | None
    temporary_bytes: int | None


def xla_cost(step: Announced, arguments: tuple) -> XlaCost:
    """What XLA says of the program that a jitted step runs on these arguments."""
    compiled = step.compiled(*arguments)
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    return XlaCost(cost.get("flops"), None if memory is None else memory.temp_size_in_bytes)


class StepCosts:
    """The costs of a run whose steps are one compiled program, or one after the other."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self._steps: Counter[Announced] = Counter()
        self._xla: dict[Announced, XlaCost] = {}
        self._rates: dict[Announced, list[float]] = {}
        self._stretch: list[Announced] = []

    def add(self, step: Announced, arguments: tuple) -> None:
        """Note a jitted step that is about to run on these arguments."""
        if step not in self._xla:
            self._xla[step] = xla_cost(step, arguments)
        self._steps[step] += 1
        self._stretch.append(step)

    def end_stretch(self, seconds: float) -> None:
        """Note how long the steps since the last stretch took together."""
        # A stretch in which the program changes says nothing of either.
        if len(set(self._stretch)) == 1:
            self._rates.setdefault(self._stretch[0], []).append(seconds / len(self._stretch))
        self._stretch = []

    def row(self) -> dict[str, float | None]:
        """What a row says of costs.

        Returns:
          `seconds_per_step`: of each program the median of its stretches, the first left out where there are more, for
            it compiles; then the mean over all steps. None where a program has no stretch.
          `flops_per_step`: by XLA's count, the mean over all steps; None where the backend does not count.
          `temporary_bytes`: the most that a program takes, by the compiler's plan; None likewise.
        """
        seconds = {step: float(np.median(rates[1:] or rates)) for step, rates in self._rates.items()}
        return {
            "seconds_per_step": self._mean(seconds),
            "flops_per_step": self._mean({step: cost.flops for step, cost in self._xla.items()}),
            "temporary_bytes": max((cost.temporary_bytes or 0 for cost in self._xla.values()), default=0) or None,
        }

    def _mean(self, costs: dict[Announced, Any]) -> float | None:
        """Mean over all steps of what each costs; None where one is not known."""
        if any(costs.get(step) is None for step in self._steps):
            return None
        return sum(number * costs[step] for step, number in self._steps.items()) / self._steps.total()


class Stopwatch:
    """Seconds by what they were spent on, from one lap to the next."""

    def __init__(self) -> None:
        """Start."""
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> float:
        """Seconds since the last lap, which are added to `name`."""
        now = time.monotonic()
        spent, self._since = now - self._since, now
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        return spent
