"""What a study says, in plain words computed from its pairs: for, against and undecided alike."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from lisa_jax.reporting.words import arm_names, digits, kind_name, listed, measure_name, setting_name
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.markdown import spread
from lisa_jax.studies.pairs import Pair, Row, sample_measures
from lisa_jax.studies.speedup import LOSS, falls

CONFIDENCE = 0.95


BETTER, WORSE, NONE, UNKNOWN = "better", "worse", "none", "unknown"
_VERDICTS = {
    BETTER: "Better at the end with LISA",
    WORSE: "Worse at the end with LISA",
    NONE: "No difference at the end that these runs can show",
    UNKNOWN: "One plain run to compare with, so no spread to judge by",
}
_IN_SHORT = {
    BETTER: "better with LISA in {}",
    WORSE: "worse with LISA in {}",
    NONE: "not different, as far as these runs can show, in {}",
    UNKNOWN: "undecided, with one plain run alone, in {}",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One measure of one task.

    Attributes:
      measure: its name as a curve's points have it; `name` is for readers.
      kind: the verdict about final values: BETTER, WORSE, NONE or UNKNOWN; `verdict` is for readers.
      sentences: the numbers behind it.
    """

    measure: str
    kind: str
    sentences: tuple[str, ...]

    @property
    def name(self) -> str:
        return measure_name(self.measure)

    @property
    def verdict(self) -> str:
        return _VERDICTS[self.kind]


@dataclasses.dataclass(frozen=True)
class Strip:
    """Speed-ups of one arm in one setting.

    Attributes:
      dots: percent of a logarithmic axis and what to tell, one for each pair that got there.
      mean: theirs, in percent of the axis, where there are several.
      text: mean and spread.
      missed: pairs that never got there.
    """

    setting: str
    arm: str
    dots: tuple[tuple[float, str], ...]
    mean: float | None
    text: str
    missed: int


@dataclasses.dataclass(frozen=True)
class Strips:
    """Strips of one measure on one axis, with its ticks as (percent, label)."""

    measure: str
    ticks: tuple[tuple[float, str], ...]
    strips: tuple[Strip, ...]


def overview(rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """How much was run: "14 runs (7 plain, 7 with LISA) of 3 tasks make 6 pairs ..."."""
    plain = sum(not row["cell"].lam for row in rows)
    tasks = len({row["cell"].task for row in rows})
    partners = {row["id"] for pair in pairs for row in (pair.row, pair.plain)}
    alone = len(rows) - len(partners)
    return (
        f"{_count(len(rows), 'run')} ({plain} plain, {len(rows) - plain} with LISA) of {_count(tasks, 'task')} "
        f"{'makes' if len(rows) == 1 else 'make'} {_count(len(pairs), 'pair')}. The two runs of a pair share seed, "
        "start, batches and noise; only the alignment loss differs."
        + (f" {_count(alone, 'run')} {'has' if alone == 1 else 'have'} no partner." if alone else "")
    )


def in_short(by_task: Mapping[str, tuple[Sequence[Pair], Sequence[Finding]]]) -> list[str]:
    """A sentence each on final fidelity, quality and loss, and on speed, over all tasks; nothing without pairs."""
    sentences = []
    for name in ("fidelity", "quality", "validation loss"):
        tasks: dict[str, list[str]] = {}
        for task, (_, found) in by_task.items():
            for finding in found:
                if kind_name(finding.measure) == name:
                    tasks.setdefault(finding.kind, []).append(task)
        if tasks:
            words = [text.format(listed(tasks[kind])) for kind, text in _IN_SHORT.items() if kind in tasks]
            sentences.append(f"At the end of training, {name} is {'; '.join(words)}.")
    speedups = [
        pair.speedups[found[0].measure]
        for pairs, found in by_task.values()
        if found and kind_name(found[0].measure) == "fidelity"
        for pair in pairs
        if found[0].measure in pair.speedups
    ]
    if speedups:
        sentences.append(f"Over all tasks, {_reaching(speedups, 'final fidelity')}")
    return sentences


def findings(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Finding]:
    """Findings of one task: its first measure of fidelity, its first of quality, then the validation loss."""
    measures, arm = _told_measures(rows), arm_names(row["cell"] for row in rows)
    return [
        _finding(name, found, arm) for name in measures if (found := [pair for pair in pairs if name in pair.gains])
    ]


def _told_measures(rows: Sequence[Row]) -> list[str]:
    """The first measure of each kind, and the validation loss."""
    first: dict[str, str] = {}
    for name in sample_measures(rows):
        first.setdefault(name.partition("/")[0], name)
    return [*first.values(), LOSS]


def _finding(measure: str, pairs: Sequence[Pair], arm: Callable[[Cell], str]) -> Finding:
    sign = -1 if falls(measure) else 1
    gains = [pair.gains[measure] for pair in pairs]
    better, worse = sum(sign * gain > 0 for gain in gains), sum(sign * gain < 0 for gain in gains)
    speedups = [pair.speedups[measure] for pair in pairs if measure in pair.speedups]
    reaching = [_reaching(speedups, "final value")] if speedups else []
    difference = _minus(spread(gains, digits(measure, gains), signed=True))
    if len(pairs) == 1:
        ended = f"It ended {'better' if better else 'worse' if worse else 'equal'}: {difference} from plain."
    else:
        equal = f", equal in {len(gains) - better - worse}" if better + worse < len(gains) else ""
        ended = f"It ended better in {better}, worse in {worse}{equal}: {difference} from plain."
    kind, interval = _verdict(measure, pairs, sign)
    return Finding(measure, kind, (*reaching, ended, *_range(measure, pairs, arm), *([interval] if interval else [])))


def _range(measure: str, pairs: Sequence[Pair], name: Callable[[Cell], str]) -> list[str]:
    """The least and the greatest mean difference of an arm, where there are several."""
    arms: dict[str, list[float]] = {}
    for pair in pairs:
        arms.setdefault(name(pair.row["cell"]), []).append(pair.gains[measure])
    means = sorted((float(np.mean(gains)), arm) for arm, gains in arms.items())
    if len(means) == 1:
        return []
    told = [f"{_minus(f'{mean:+.{digits(measure, [mean])}f}')} ({arm})" for mean, arm in (means[0], means[-1])]
    return [f"By arm it is from {told[0]} to {told[1]}."]


def _reaching(speedups: Sequence[float | None], what: str) -> str:
    """How many pairs got there and how fast; where some did not, also the median with these as the slowest."""
    found, number = [value for value in speedups if value is not None], len(speedups)
    if number == 1:
        start = f"LISA {'reached' if found else 'did not reach'} plain training's {what}"
        return f"{start}, {found[0]:.2f} times as fast in steps." if found else f"{start}."
    start = f"LISA reached plain training's {what} in {len(found) or 'none'} of {number} pairs"
    if not found:
        return f"{start}."
    start += f", there {spread(found, 2)} times as fast in steps"
    if len(found) == number:
        return f"{start}."
    middle = sorted([0.0] * (number - len(found)) + found)
    median = float(np.median(middle)) if middle[(number - 1) // 2] else None
    return f"{start}; the median of all pairs, those that never got there as the slowest, is " + (
        "“not reached”." if median is None else f"{median:.2f}."
    )


def _verdict(measure: str, pairs: Sequence[Pair], sign: int) -> tuple[str, str | None]:
    """A verdict about final values, and the interval that it rests on.

    Arms that share a plain run are not independent: they count as their mean, once for each plain run.
    """
    by_plain: dict[Cell, list[float]] = {}
    for pair in pairs:
        by_plain.setdefault(pair.plain["cell"], []).append(pair.gains[measure])
    means = np.array([np.mean(values) for values in by_plain.values()])
    if len(means) == 1:
        return UNKNOWN, None
    error = np.std(means, ddof=1) / math.sqrt(len(means))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(means) - 1) * error)
    low, high = float(means.mean()) - half, float(means.mean()) + half
    decimals = digits(measure, means)
    averaged = ", arms averaged," if len(pairs) > len(means) else ""
    ends = _minus(f"{low:+.{decimals}f} to {high:+.{decimals}f}")
    interval = f"{CONFIDENCE:.0%} interval{averaged} over {len(means)} plain runs: {ends}."
    if low <= 0 <= high:
        return NONE, interval
    return (BETTER if sign * means.mean() > 0 else WORSE), interval


def strips(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Strips]:
    """Speed-ups of every arm and setting of one task, for the measures that `findings` tells of."""
    cells = [row["cell"] for row in rows]
    name, found = arm_names(cells), []
    for measure in _told_measures(rows):
        groups: dict[tuple, list[Pair]] = {}
        for pair in pairs:
            if measure in pair.speedups:
                groups.setdefault((pair.row["cell"].setting, name(pair.row["cell"])), []).append(pair)
        reached = [value for members in groups.values() for pair in members if (value := pair.speedups[measure])]
        widest = max([1.25, *(max(value, 1 / value) for value in reached)]) * 1.05

        def place(value: float, widest: float = widest) -> float:
            return round(50 + 50 * math.log(value) / math.log(widest), 2)

        steps = (1.1, 1.2) if widest < 1.5 else (1.25, 1.5) if widest < 2 else (1.5, 2.0) if widest < 4 else (2.0, 5.0)
        ticks = [
            (place(tick), f"{tick:.2g}\u00d7")
            for tick in (1 / steps[1], 1 / steps[0], 1.0, *steps)
            if 1 / widest < tick < widest
        ]
        lines = []
        for (_, arm), members in groups.items():
            values = [(pair.speedups[measure], pair.row["cell"].seed) for pair in members]
            got = [(value, seed) for value, seed in values if value is not None]
            lines.append(
                Strip(
                    setting_name(members[0].row["cell"], cells),
                    arm,
                    tuple((place(value), f"seed {seed}: {value:.2f}\u00d7") for value, seed in got),
                    place(float(np.mean([value for value, _ in got]))) if len(got) > 1 else None,
                    spread([value for value, _ in values], 2),
                    len(values) - len(got),
                )
            )
        if lines:
            found.append(Strips(measure_name(measure), tuple(ticks), tuple(lines)))
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _minus(text: str) -> str:
    """Numbers with a minus sign instead of a hyphen."""
    return text.replace("-", "\u2212")
