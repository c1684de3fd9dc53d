"""What a study says: means over seeds, and how much sooner an arm reaches what plain training reaches at its end."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lisa_jax.dual_branch import hook_names
from lisa_jax.evaluation.fidelity import lower_is_better, measures
from lisa_jax.studies.grid import Cell
from lisa_jax.weighting import UNIFORM

LOSS = "validation/main_loss"
# The decoder's loss over its target's power.
ALIGN = "validation/align_over_gap"
# What a step costs, as rows have it.
COSTS = {"time": "seconds_per_step", "FLOPs": "flops_per_step"}
# What two cells must share to be an arm and its baseline; the rest of a cell's fields describe the alignment.
SHARED = ("task", "learning_rate", "seed", "batch_size", "num_steps", "compute_dtype")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One setting over its seeds.

    Attributes:
      cell: fields of its cells without the seed.
      seeds: seeds that were run.
      finals: measure -> its value at the end, one a seed; None where a run has none.
      gains: measure -> final value minus that of plain training of the same seed, one for each seed that both have.
      speedups: measure -> steps that plain training needs to reach its own final value over the steps of this arm, one
        for each such seed; None where this arm does not reach it.
      early: the same for the validation loss that plain training has after a quarter of its steps.
      cheapness: "time" or "FLOPs" -> what a step of plain training costs over a step of this arm, one for each such
        seed; None where a row does not say. In other hands than one quiet machine's, time is a rough measure.
    """

    cell: Mapping[str, Any]
    seeds: tuple[int, ...]
    finals: Mapping[str, tuple[float | None, ...]]
    gains: Mapping[str, tuple[float, ...]]
    speedups: Mapping[str, tuple[float | None, ...]]
    early: tuple[float | None, ...]
    cheapness: Mapping[str, tuple[float | None, ...]]

    def speedups_in(self, cost: str, measure: str) -> tuple[float | None, ...]:
        """The speed-ups in "time" or "FLOPs" in place of steps."""
        pairs = zip(self.speedups[measure], self.cheapness[cost], strict=True)
        return tuple(None if None in pair else pair[0] * pair[1] for pair in pairs)


def falls(measure: str) -> bool:
    """Whether a measure of a curve (`validation/main_loss`, `fidelity/...`, `quality/...`) falls as things improve."""
    return measure == LOSS or measure.startswith("quality/") or lower_is_better(measure)


def steps_to_reach(curve: Sequence[Mapping[str, float]], measure: str, value: float) -> float | None:
    """First step at which a curve reaches a value, linear between its points; None if it never does.

    What falls as things get better is reached from above, everything else from below; before the first point nothing is
    known, so the earliest answer is its step.
    """
    sign = -1.0 if falls(measure) else 1.0
    points = [(point["step"], sign * point[measure]) for point in curve if measure in point]
    previous = None
    for step, height in points:
        if height >= sign * value:
            if previous is None:
                return float(step)
            share = (sign * value - previous[1]) / (height - previous[1])
            return previous[0] + share * (step - previous[0])
        previous = (step, height)
    return None


def speedup(
    curve: Sequence[Mapping[str, float]], baseline: Sequence[Mapping[str, float]], measure: str, step: float
) -> float | None:
    """How much sooner a curve reaches the value of the baseline's first point at or after a step; None: never."""
    value = next(point[measure] for point in baseline if point["step"] >= step and measure in point)
    reached = steps_to_reach(curve, measure, value)
    return None if reached is None else steps_to_reach(baseline, measure, value) / reached


def summarise(rows: Iterable[Mapping[str, Any]]) -> list[Arm]:
    """Arms of the rows of a study (`Results.rows().values()`), in the order of their first row."""
    # Rows from before a field of cells existed get its value of then, and lists of JSON become tuples.
    rows = [{**row, "cell": dataclasses.asdict(Cell(**row["cell"]))} for row in rows]
    plain = {_key(row["cell"], SHARED): row for row in rows if row["cell"]["lam"] == 0}
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_key(row["cell"], [name for name in row["cell"] if name != "seed"]), []).append(row)
    arms = []
    for members in groups.values():
        members = sorted(members, key=lambda row: row["cell"]["seed"])
        cell = {name: value for name, value in members[0]["cell"].items() if name != "seed"}
        names = [LOSS, *(f"fidelity/{name}" for name in measures(cell["task"]))]
        # What not every arm or row has: the decoder's loss, and distances to real pictures.
        lasts = [row["curve"][-1] for row in members]
        some = {name for last in lasts for name in last if name == ALIGN or name.startswith("quality/")}
        finals = {name: tuple(last[name] for last in lasts) for name in names}
        finals |= {name: tuple(last.get(name) for last in lasts) for name in some}
        gains: dict[str, list[float]] = {name: [] for name in names}
        speedups: dict[str, list[float | None]] = {name: [] for name in names}
        cheapness: dict[str, list[float | None]] = {cost: [] for cost in COSTS}
        early = []
        for row in members:
            baseline = plain.get(_key(row["cell"], SHARED))
            if cell["lam"] == 0 or baseline is None:
                continue
            for name in names:
                gains[name].append(row["curve"][-1][name] - baseline["curve"][-1][name])
                speedups[name].append(speedup(row["curve"], baseline["curve"], name, cell["num_steps"]))
            early.append(speedup(row["curve"], baseline["curve"], LOSS, cell["num_steps"] / 4))
            for cost, field in COSTS.items():
                known = row.get(field) and baseline.get(field)
                cheapness[cost].append(baseline[field] / row[field] if known else None)
        arms.append(
            Arm(
                cell,
                tuple(row["cell"]["seed"] for row in members),
                finals,
                {name: tuple(values) for name, values in gains.items()},
                {name: tuple(values) for name, values in speedups.items()},
                tuple(early),
                {name: tuple(values) for name, values in cheapness.items()},
            )
        )
    return arms


def markdown(arms: Sequence[Arm]) -> str:
    """One table a task: mean ± standard deviation over seeds; gains and speed-ups are paired by seed.

    Fidelity is the task's first measure; its speed-up is in steps, in time and in FLOPs.
    """
    tables = []
    for task in dict.fromkeys(arm.cell["task"] for arm in arms):
        first = measures(task)[0]
        fidelity = f"fidelity/{first}"
        head = ["learning rate", "steps", "lam", "hook", "seeds", "validation loss", first]
        head += ["gain in loss", f"gain in {first}", "early speed-up", "speed-up, loss", "speed-up, fidelity"]
        head += [*(f"the same in {cost}" for cost in COSTS), "align/gap"]
        members = [arm for arm in arms if arm.cell["task"] == task]
        quality = sorted({name for arm in members for name in arm.finals if name.startswith("quality/")})
        head += [name.removeprefix("quality/") for name in quality]
        lines = [f"### {task}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for arm in sorted(members, key=_order):
            cell = arm.cell
            values = [
                f"{cell['learning_rate']:g}",
                str(cell["num_steps"]),
                ", ".join([f"{cell['lam']:g}", *_options(cell)]),
                _hooks(cell),
                str(len(arm.seeds)),
                spread(arm.finals[LOSS], 4),
                spread(arm.finals[fidelity], 3),
                spread(arm.gains[LOSS], 4, signed=True),
                spread(arm.gains[fidelity], 3, signed=True),
                spread(arm.early, 2),
                spread(arm.speedups[LOSS], 2),
                spread(arm.speedups[fidelity], 2),
                *(_known(arm, cost, fidelity) for cost in COSTS),
                spread(arm.finals.get(ALIGN, ()), 2),
                *(spread(arm.finals.get(name, ()), 3) for name in quality),
            ]
            lines.append(f"| {' | '.join(values)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def _known(arm: Arm, cost: str, measure: str) -> str:
    """Speed-ups in a cost; nothing where rows do not have it."""
    return "" if None in arm.cheapness[cost] else spread(arm.speedups_in(cost, measure), 2)


def _hooks(cell: Mapping[str, Any]) -> str:
    return "+".join(hook_names(cell["hook"])) if cell["hook"] else ""


def _options(cell: Mapping[str, Any]) -> list[str]:
    """What of the alignment is not as usual."""
    usual = {
        "lam_decay_steps": (None, "decay {}"),
        "lam_stop_step": (None, "stop {}"),
        "align_every": (1, "every {}"),
        "decoder_width": (1, "decoder x{:g}"),
        "weighting": (UNIFORM, "{}"),
        "decoder_rate": (1, "decoder's rate x{:g}"),
    }
    return [text.format(cell[name]) for name, (value, text) in usual.items() if cell[name] != value]


def spread(values: Sequence[float | None], digits: int, signed: bool = False) -> str:
    """ "mean ± sd" of values, the mean alone of one value, nothing of none.

    None stands for a value that was never reached: the mean is over the others and says over how many.
    """
    found = [value for value in values if value is not None]
    if not found:
        return "not reached" if values else ""
    text = f"{np.mean(found):{'+' if signed else ''}.{digits}f}"
    if len(found) > 1:
        text += f" ± {np.std(found, ddof=1):.{digits}f}"
    return text if len(found) == len(values) else f"{text} ({len(found)} of {len(values)})"


def _order(arm: Arm) -> tuple:
    cell = arm.cell
    return (-cell["learning_rate"], cell["num_steps"], _hooks(cell), cell["lam"], _options(cell))


def _key(cell: Mapping[str, Any], names: Iterable[str]) -> tuple:
    return tuple((name, cell[name]) for name in names)
