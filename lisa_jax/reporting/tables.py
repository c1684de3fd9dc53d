"""Tables of a study: final values, speed-ups, ablations."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_jax.reporting.pairs import Pair, Row, final, setting
from lisa_jax.reporting.words import (
    DEFAULTS,
    arm_name,
    digits,
    field_name,
    measure_name,
    sample_measures,
    setting_name,
    value_name,
)
from lisa_jax.studies.summary import COSTS, LOSS, spread

ABSENT = "\u2013"
# What an ablation varies; fields that belong together are one choice.
ABLATIONS = (
    ("λ", ("lam",)),
    ("hook", ("hook",)),
    ("schedule of λ", ("lam_decay_steps", "lam_stop_step")),
    ("how often it is aligned", ("align_every",)),
    ("decoder width", ("decoder_width",)),
    ("learning rate of the decoder", ("decoder_rate",)),
    ("weighting of the alignment loss", ("weighting",)),
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: the first `labels` columns are headings of their rows, `pale` are the rows of plain training."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1
    pale: frozenset[int] = frozenset()


def arms_table(rows: Sequence[Row], pairs: Sequence[Pair]) -> Table:
    """All arms of one task, setting by setting, plain training first."""
    cells = [row["cell"] for row in rows]
    measures = [LOSS, *sample_measures(rows)]
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault((setting(row["cell"]), arm_name(row["cell"])), []).append(row)
    order = {key: index for index, key in enumerate(dict.fromkeys(key for key, _ in groups))}
    lines, pale = [], set()
    for (_, arm), members in sorted(
        groups.items(), key=lambda item: (order[item[0][0]], item[1][0]["cell"]["lam"] > 0)
    ):
        if not members[0]["cell"]["lam"]:
            pale.add(len(lines))
        settings = [setting_name(members[0]["cell"], cells)] if len(order) > 1 else []
        lines.append([*settings, arm, *_values(members, pairs, measures)])
    labels = ["setting", "arm"] if len(order) > 1 else ["arm"]
    return Table("All arms", [*labels, *_columns(measures)], lines, labels=len(labels), pale=frozenset(pale))


def ablation_tables(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Table]:
    """For each choice that was varied with all else equal: its values, plain training of the same setting first."""
    measures = [LOSS, *sample_measures(rows)]
    cells = [row["cell"] for row in rows]
    tables = []
    for title, fields in ABLATIONS:
        groups: dict[tuple, list[Row]] = {}
        for row in rows:
            if row["cell"]["lam"]:
                groups.setdefault(_others(row["cell"], fields), []).append(row)
        for members in groups.values():
            by_value: dict[tuple, list[Row]] = {}
            for row in members:
                by_value.setdefault(_choice(row["cell"], fields), []).append(row)
            if len(by_value) < 2:
                continue
            cell = members[0]["cell"]
            plain = [row for row in rows if not row["cell"]["lam"] and setting(row["cell"]) == setting(cell)]
            lines = [["plain training", *_values(plain, pairs, measures)]] if plain else []
            lines += [
                [_choice_name(fields, value), *_values(by_value[value], pairs, measures)]
                for value in sorted(by_value, key=_sortable)
            ]
            caption = f"By {title}: {_fixed(cell, fields, cells)}"
            tables.append(Table(caption, [title, *_columns(measures)], lines, pale=frozenset({0} if plain else ())))
    return tables


def runs_table(rows: Sequence[Row]) -> Table:
    """Every run with where and how long it ran."""
    measures = [LOSS, *sample_measures(rows)]
    lines = [
        [
            row["id"],
            *(_number(final(row, name), digits(name, [final(row, name)])) for name in measures),
            ABSENT if row.get("seconds_per_step") is None else f"{1e3 * row['seconds_per_step']:.2f}",
            ABSENT if row.get("seconds") is None else f"{row['seconds']:.0f}",
            str(row.get("device", ABSENT)),
        ]
        for row in rows
    ]
    columns = ["run", *map(measure_name, measures), "ms a step", "seconds in all", "device"]
    return Table("Every run, at its end", columns, lines)


def evaluation_table(name: str, evaluation: Mapping[str, Any], part: str) -> Table:
    """`fidelity` or `quality` of what `evaluate` wrote: sets of pictures as rows where there are several."""
    content = evaluation[part]
    sets = (
        content if content and all(isinstance(value, Mapping) for value in content.values()) else {"samples": content}
    )
    flat = {label: dict(_flattened(values)) for label, values in sets.items()}
    columns = list(dict.fromkeys(key for values in flat.values() for key in values))
    told = [f"{key} {evaluation[key]}" for key in ("task", "step", "examples", "split", "weights") if key in evaluation]
    lines = [[label, *(values.get(key, ABSENT) for key in columns)] for label, values in flat.items()]
    caption = f"{part.capitalize()} in {name}" + (f" ({', '.join(told)})" if told else "")
    return Table(caption, ["pictures", *map(measure_name, columns)], lines)


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


def _values(members: Sequence[Row], pairs: Sequence[Pair], measures: Sequence[str]) -> list[str]:
    mine = [pair for pair in pairs if any(pair.row is row for row in members)]
    finals = {name: _known([final(row, name) for row in members]) for name in measures}
    gains = {name: [pair.gains[name] for pair in mine if name in pair.gains] for name in measures}
    speedups = [[pair.speedups[name] for pair in mine if name in pair.speedups] for name in measures[:2]]
    in_costs = [
        [pair.speedup_in(cost, name) for pair in mine if name in pair.speedups and cost in pair.cheapness]
        for name in measures[1:2]
        for cost in COSTS
    ]
    decoder = _known([final(row, "validation/align_over_gap") for row in members])
    return [
        str(len(members)),
        *(spread(finals[name], digits(name, finals[name])) or ABSENT for name in measures),
        *(spread(gains[name], digits(name, finals[name]), signed=True) or ABSENT for name in measures[:2]),
        spread([pair.early for pair in mine], 2) or ABSENT,
        *(spread(values, 2) or ABSENT for values in speedups),
        *(spread(values, 2) or ABSENT for values in in_costs),
        spread(decoder, 2) or ABSENT,
    ]


def _known(values: Sequence[float | None]) -> Sequence[float | None]:
    """Values of which some may be missing; nothing where all are."""
    return [] if all(value is None for value in values) else values


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


def _others(cell: Mapping[str, Any], fields: Sequence[str]) -> tuple:
    return tuple(sorted((name, repr(value)) for name, value in cell.items() if name not in (*fields, "seed")))


def _choice(cell: Mapping[str, Any], fields: Sequence[str]) -> tuple:
    return tuple(cell.get(name, DEFAULTS.get(name)) for name in fields)


def _choice_name(fields: Sequence[str], values: tuple) -> str:
    if fields[0].startswith("lam_"):
        words = [f"{field_name(name)} {value}" for name, value in zip(fields, values, strict=True) if value is not None]
        return ", ".join(words) or "constant"
    return value_name(values[0])


def _sortable(values: tuple) -> tuple:
    """Nothing first, then numbers by size, then words."""
    return tuple(
        (1, value, "") if isinstance(value, int | float) else (0 if value is None else 2, 0, value_name(value))
        for value in values
    )


def _fixed(cell: Mapping[str, Any], fields: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> str:
    """What an ablation holds fixed."""
    words = [setting_name(cell, cells)]
    words += [f"{field_name(name)} {value_name(cell[name])}" for name in ("lam", "hook") if name not in fields]
    words += [
        f"{field_name(name)} {value_name(cell[name])}"
        for name, usual in DEFAULTS.items()
        if name not in fields and cell.get(name, usual) != usual
    ]
    return ", ".join(word for word in words if word != "the only setting")
