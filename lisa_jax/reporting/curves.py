"""Specifications of charts, as the page's script draws them: plain JSON values.

A chart has `title`, `measures` (key and label), `panels` (title and a suffix of the measures' keys), and `settings`,
of which one is shown at a time: a label, `series`, and `references`, measure -> lines with a label and a value. A
series has a label, a `kind` ("plain", "lisa" or "decoder"), a `style` (colour, dashes and marker), `seconds` and
`flops` a step where they are known, and `seeds`: each a seed, its steps, and measure -> values, null where there is
none.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lisa_jax.reporting.words import ONLY_SETTING, arm_names, measure_name, setting_name, spaced
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.pairs import Row, sample_measures
from lisa_jax.studies.speedup import ALIGN, LOSS

QUARTILES = tuple(f"_q{index}" for index in range(1, 5))
_PANELS = ("least noise (first quarter)", "second quarter", "third quarter", "most noise (last quarter)")
_REFERENCES = {"real": "real pictures", "other": "other examples' pictures", "no control": "without control"}
# More points than this cannot be told apart; longer curves are means of neighbours.
MAX_POINTS = 400

Chart = dict[str, Any]


def fidelity_chart(rows: Sequence[Row], references: Mapping[str, Mapping[str, float | None]]) -> Chart:
    """Fidelity, quality and losses of one task against steps."""
    names = [*sample_measures(rows), LOSS, "train/main_loss", ALIGN]
    return _chart(
        "Fidelity, quality and loss on the way",
        [name for name in names if any(name in point for row in rows for point in row["curve"])],
        rows,
        lambda members, styles: [_series(arm, group, styles[arm]) for arm, group in members.items()],
        references,
    )


def noise_chart(rows: Sequence[Row]) -> Chart | None:
    """Loss, and the share of the gap that is explained, by quartile of noise; None without such values.

    The gap between the target and what the frozen network explains is the same for all runs of a task, for validation
    sees the same noise: so the gap's power, which only runs with LISA record, serves the plain runs too.
    """
    if not any(LOSS + QUARTILES[0] in point for row in rows for point in row["curve"]):
        return None
    power = next(
        (point for row in rows for point in row["curve"] if f"validation/gap_power{QUARTILES[0]}" in point), {}
    )

    def explained(point: Mapping[str, float], loss: str) -> dict[str, float]:
        return {
            f"explained{q}": 1 - point[f"validation/{loss}{q}"] / power[f"validation/gap_power{q}"]
            for q in QUARTILES
            if f"validation/{loss}{q}" in point and power.get(f"validation/gap_power{q}")
        }

    def network(point: Mapping[str, float]) -> dict[str, float]:
        return {name: value for name, value in point.items() if name.startswith(LOSS)} | explained(point, "main_loss")

    def series(members: Mapping[str, list[Row]], styles: Mapping[str, int]) -> list[dict[str, Any]]:
        found = []
        for arm, group in members.items():
            found.append(_series(arm, _derived(group, network), styles[arm]))
            if decoder := _derived(group, lambda point: explained(point, "align_loss")):
                found.append(_series(f"{arm}: its decoder", decoder, styles[arm], kind="decoder"))
        return found

    measures = (["explained"] if power else []) + [LOSS]
    chart = _chart("By noise level", measures, rows, series)
    return chart | {
        "panels": [{"title": title, "suffix": q} for title, q in zip(_PANELS, QUARTILES, strict=True)],
        "measures": [
            {"key": name, "label": "share of the gap explained" if name == "explained" else measure_name(name)}
            for name in measures
        ],
    }


def gradient_chart(rows: Sequence[Row]) -> Chart | None:
    """How strongly alignment pulls on the side network's trunk, and whether in the main loss's direction."""
    main, align, cosine = (f"validation/trunk_grad_{name}" for name in ("main", "align", "cosine"))

    def shares(lam: float, point: Mapping[str, float]) -> dict[str, float]:
        if not point.get(main) or align not in point:
            return {}
        return {"share": lam * point[align] / point[main], "cosine": point[cosine]}

    def series(members: Mapping[str, list[Row]], styles: Mapping[str, int]) -> list[dict[str, Any]]:
        return [
            _series(arm, derived, styles[arm])
            for arm, group in members.items()
            if (derived := _derived(group, lambda point, lam=group[0]["cell"].lam: shares(lam, point)))
        ]

    if not any(align in point for row in rows for point in row["curve"]):
        return None
    chart = _chart("Gradients on the side network's trunk", [], rows, series)
    return chart | {
        "settings": [setting for setting in chart["settings"] if setting["series"]],
        "measures": [
            {"key": "share", "label": "λ times alignment gradient over main gradient (norms)"},
            {"key": "cosine", "label": "cosine between the two gradients"},
        ],
    }


def training_chart(runs: Sequence[tuple[str, float, Sequence[Mapping[str, float]]]]) -> Chart:
    """Curves of training runs: (label, lam, lines of metrics.jsonl) each."""
    wanted = re.compile(
        r"(validation/|fidelity/).*|main_loss|align_loss|main_over_gap|align_over_gap|grad_norm|gate_norm"
    )
    names = dict.fromkeys(
        name for _, _, lines in runs for line in lines for name in line if wanted.fullmatch(name) and "_q" not in name
    )
    order = sorted(names, key=lambda name: (not name.startswith("fidelity/"), name != LOSS, name != "main_loss"))
    style, series = 0, []
    for label, lam, lines in runs:
        curve = [{name: line[name] for name in ("step", *order) if name in line} for line in lines]
        style += bool(lam)
        kind = "lisa" if lam else "plain"
        series.append(
            {"label": label, "kind": kind, "style": style if lam else 0, "seconds": None, "flops": None}
            | {"seeds": [_thinned(curve)]}
        )
    return {
        "title": "Training curves",
        "measures": [{"key": name, "label": measure_name(name)} for name in order],
        "panels": [{"title": "", "suffix": ""}],
        "settings": [{"label": "all runs", "series": series, "references": {}}],
    }


def _chart(title: str, measures: Iterable[str], rows: Sequence[Row], series: Any, references: Any = None) -> Chart:
    """One setting's runs at a time, arms with the same style in all of them; settings with more runs come first."""
    cells = [row["cell"] for row in rows]
    name = arm_names(cells)
    lisa = dict.fromkeys(name(cell) for cell in cells if cell.lam)
    plain = dict.fromkeys(name(cell) for cell in cells if not cell.lam)
    styles = dict.fromkeys(plain, 0) | {arm: index for index, arm in enumerate(lisa, 1)}
    settings: dict[Cell, list[Row]] = {}
    for row in rows:
        settings.setdefault(row["cell"].setting, []).append(row)
    shown = []
    for group in sorted(settings.values(), key=len, reverse=True):
        members: dict[str, list[Row]] = {}
        for row in sorted(group, key=lambda row: row["cell"].lam > 0):
            members.setdefault(name(row["cell"]), []).append(row)
        shown.append(
            {"label": setting_name(group[0]["cell"], cells) or ONLY_SETTING, "series": series(members, styles)}
        )
    lines = {
        measure: [
            {"label": _REFERENCES.get(pictures, spaced(pictures)), "value": values[measure]}
            for pictures, values in (references or {}).items()
            if _finite(values.get(measure))
        ]
        for measure in dict.fromkeys(key for values in (references or {}).values() for key in values)
    }
    return {
        "title": title,
        "measures": [{"key": key, "label": measure_name(key)} for key in measures],
        "panels": [{"title": "", "suffix": ""}],
        "settings": [entry | {"references": lines} for entry in shown],
    }


def _series(label: str, rows: Sequence[Row], style: int, kind: str | None = None) -> dict[str, Any]:
    return {
        "label": label,
        "kind": kind or ("lisa" if rows[0]["cell"].lam else "plain"),
        "style": style,
        "seconds": _mean(rows, "seconds_per_step"),
        "flops": _mean(rows, "flops_per_step"),
        "seeds": [{"seed": row["cell"].seed, **_thinned(row["curve"])} for row in rows],
    }


def _derived(rows: Sequence[Row], values: Any) -> list[Row]:
    """Rows with other values in their curves, without points that have none and without rows that have no points."""
    found = []
    for row in rows:
        curve = [{"step": point["step"], **made} for point in row["curve"] if (made := values(point))]
        if curve:
            found.append({**row, "curve": curve})
    return found


def _thinned(curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Steps and values by measure, of six digits; longer curves than MAX_POINTS as means of neighbouring points."""
    merged: dict[float, dict[str, float]] = {}
    for point in curve:
        merged.setdefault(point["step"], {}).update(point)
    points, values = sorted(merged), {}
    for name in dict.fromkeys(name for point in curve for name in point if name != "step"):
        known = [(step, merged[step][name]) for step in points if _finite(merged[step].get(name))]
        size = math.ceil(len(known) / MAX_POINTS) or 1
        groups = [known[start : start + size] for start in range(0, len(known), size)]
        values[name] = {group[-1][0]: sum(value for _, value in group) / len(group) for group in groups}
    steps = sorted({step for found in values.values() for step in found})
    return {
        "steps": steps,
        "values": {
            name: [float(f"{found[step]:.6g}") if step in found else None for step in steps]
            for name, found in values.items()
        },
    }


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _mean(rows: Sequence[Row], name: str) -> float | None:
    """Mean over rows; None unless all of them have it."""
    found = [row.get(name) for row in rows]
    return None if None in found else sum(found) / len(found)
