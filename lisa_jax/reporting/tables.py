"""Tables of a study: final values, speed-ups, ablations."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_jax.reporting.words import arm_names, digits, field_name, measure_name, setting_name, task_name, value_name
from lisa_jax.studies.fields import ALIGNMENT_FIELDS, FIELDS, usual
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.markdown import spread
from lisa_jax.studies.pairs import COSTS, Arm, Row, final, sample_measures
from lisa_jax.studies.speedup import ALIGN, LOSS

ABSENT = "\u2013"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: the first `labels` columns are headings of their rows, `pale` are the rows of plain training."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1
    pale: frozenset[int] = frozenset()


def arms_table(arms: Sequence[Arm]) -> Table:
    """All arms of one task, setting by setting, plain training first."""
    measures, cells = _measures(arms), [arm.cell for arm in arms]
    name = arm_names(cells)
    settings = list(dict.fromkeys(cell.setting for cell in cells))
    ordered = sorted(arms, key=lambda arm: (settings.index(arm.cell.setting), arm.cell.lam > 0))
    lines = [[name(arm.cell), *_numbers(arm, measures)] for arm in ordered]
    labels = ["arm"]
    if len(settings) > 1:
        lines = [[setting_name(arm.cell, cells), *line] for arm, line in zip(ordered, lines, strict=True)]
        labels = ["setting", "arm"]
    pale = frozenset(index for index, arm in enumerate(ordered) if not arm.cell.lam)
    return Table("All arms", [*labels, *_columns(measures)], lines, labels=len(labels), pale=pale)


def ablation_tables(arms: Sequence[Arm]) -> list[Table]:
    """For each choice that was varied with all else equal: its values, plain training of the same setting first."""
    choices: dict[str, list[str]] = {}
    for name in ALIGNMENT_FIELDS:
        choices.setdefault(FIELDS[name].choice, []).append(name)
    return [
        _ablation(choice, fields, members, arms)
        for choice, fields in choices.items()
        for members in _alike_but_for(fields, arms)
        if len(members) > 1
    ]


def _alike_but_for(fields: Sequence[str], arms: Sequence[Arm]) -> list[list[Arm]]:
    """The arms with LISA, grouped by all but these fields."""
    others = [name for name in FIELDS if name not in (*fields, "seed")]
    groups: dict[tuple, list[Arm]] = {}
    for arm in arms:
        if arm.cell.lam:
            groups.setdefault(_values_of(arm.cell, others), []).append(arm)
    return list(groups.values())


def _ablation(choice: str, fields: Sequence[str], members: Sequence[Arm], arms: Sequence[Arm]) -> Table:
    """Arms that differ in these fields alone, below plain training of their setting."""
    measures, cell = _measures(arms), members[0].cell
    plain = [arm for arm in arms if arm.cell == cell.setting]
    lines = [["plain training", *_numbers(arm, measures)] for arm in plain]
    lines += [
        [_choice_name(arm.cell, fields), *_numbers(arm, measures)]
        for arm in sorted(members, key=lambda arm: _sortable(_values_of(arm.cell, fields)))
    ]
    caption = f"By {choice}: {_fixed(cell, fields, arms)}"
    return Table(caption, [choice, *_columns(measures)], lines, pale=frozenset(range(len(plain))))


def runs_table(rows: Sequence[Row]) -> Table:
    """Every run with where and how long it ran."""
    measures, cells = [LOSS, *sample_measures(rows)], [row["cell"] for row in rows]
    names = {task: arm_names(cell for cell in cells if cell.task == task) for task in {cell.task for cell in cells}}
    lines = [
        [
            _run_name(row["cell"], cells, names[row["cell"].task](row["cell"])),
            *(_number(final(row, name), digits(name, [final(row, name)])) for name in measures),
            ABSENT if row.get("seconds_per_step") is None else f"{1e3 * row['seconds_per_step']:.2f}",
            ABSENT if row.get("seconds") is None else f"{row['seconds']:.0f}",
            str(row.get("device", ABSENT)),
            row["id"],
        ]
        for row in rows
    ]
    columns = ["run", *map(measure_name, measures), "ms a step", "seconds in all", "device", "id"]
    return Table("Every run, at its end", columns, lines)


def _run_name(cell: Cell, cells: Sequence[Cell], arm: str) -> str:
    return ", ".join(filter(None, [task_name(cell.task), arm, setting_name(cell, cells), f"seed {cell.seed}"]))


def evaluation_table(name: str, evaluation: Mapping[str, Any], part: str) -> Table:
    """`fidelity` or `quality` of what `evaluate` wrote: sets of pictures as rows where there are several."""
    content = evaluation[part]
    sets = (
        content if content and all(isinstance(value, Mapping) for value in content.values()) else {"samples": content}
    )
    flat = {label: dict(_flattened(values)) for label, values in sets.items()}
    columns = list(dict.fromkeys(key for values in flat.values() for key in values))
    lines = [[label, *(values.get(key, ABSENT) for key in columns)] for label, values in flat.items()]
    return Table(f"{part.capitalize()}: {name}", ["pictures", *map(measure_name, columns)], lines)


def _measures(arms: Sequence[Arm]) -> list[str]:
    return [LOSS, *sample_measures(row for arm in arms for row in arm.rows)]


def _columns(measures: Sequence[str]) -> list[str]:
    first = measure_name(measures[1]) if len(measures) > 1 else None
    return [
        "seeds",
        *(measure_name(name) for name in measures),
        *(f"{measure_name(name)}, minus plain" for name in measures[:2]),
        "early speed-up",
        "speed-up, loss",
        *([f"speed-up, {first}", *(f"the same in {cost}" for cost in COSTS)] if first else []),
        "decoder's loss over the gap",
    ]


def _numbers(arm: Arm, measures: Sequence[str]) -> list[str]:
    """What `_columns` heads; ABSENT where there is nothing."""
    decimals = {name: digits(name, arm.finals(name)) for name in measures}
    texts = [
        *(spread(arm.finals(name), decimals[name]) for name in measures),
        *(spread(arm.gains(name), decimals[name], signed=True) for name in measures[:2]),
        spread(arm.early(), 2),
        *(spread(arm.speedups(name), 2) for name in measures[:2]),
        *(spread(arm.speedups_in(cost, name), 2) for name in measures[1:2] for cost in COSTS),
        spread(arm.finals(ALIGN), 2),
    ]
    return [str(len(arm.rows)), *(text or ABSENT for text in texts)]


def _number(value: float | None, decimals: int) -> str:
    return ABSENT if value is None else f"{value:.{decimals}f}"


def _flattened(values: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """(path, text) of the numbers and words in nested values; a list is one text."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flattened(value, f"{name} {key}".strip())
    elif isinstance(values, list):
        yield name, f"[{', '.join(text for value in values for _, text in _flattened(value))}]"
    elif isinstance(values, float):
        yield name, f"{values:.4g}" if values else "0"
    else:
        yield name, ABSENT if values is None else str(values)


def _values_of(cell: Cell, fields: Sequence[str]) -> tuple:
    return tuple(getattr(cell, name) for name in fields)


def _told(cell: Cell, fields: Sequence[str]) -> list[str]:
    """Those of these fields that are not as usual."""
    values = [(name, getattr(cell, name)) for name in fields]
    return [f"{field_name(name)} {value_name(value)}" for name, value in values if value != usual(name)]


def _choice_name(cell: Cell, fields: Sequence[str]) -> str:
    if len(fields) == 1:
        return value_name(getattr(cell, fields[0]))
    # The one choice of several fields is lam's schedule.
    return ", ".join(_told(cell, fields)) or "constant"


def _sortable(values: tuple) -> tuple:
    """Nothing first, then numbers by size, then words."""
    return tuple(
        (1, value, "") if isinstance(value, int | float) else (0 if value is None else 2, 0, value_name(value))
        for value in values
    )


def _fixed(cell: Cell, fields: Sequence[str], arms: Sequence[Arm]) -> str:
    """What an ablation holds fixed."""
    setting = setting_name(cell, [arm.cell for arm in arms])
    told = _told(cell, [name for name in ALIGNMENT_FIELDS if name not in fields])
    return ", ".join([setting, *told] if setting else told)
