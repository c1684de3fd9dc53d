"""Tables of probes: plain training and LISA side by side, mean ± standard deviation over seeds."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lisa_jax.studies.markdown import spread

DIGITS = 3
Record = Mapping[str, Any]
# Something measured -> its value in each seed.
Values = dict[tuple, dict[int, float]]


def markdown(records: Sequence[Record]) -> str:
    """Two tables for every arm: R^2 of the probes, and the shares of the gap that decoder and network explain.

    Runs are compared that share task, step and setting; differences are of pairs of the same seed.

    Raises:
      ValueError: two runs that differ in nothing but their id.
    """
    sections = []
    for members in _grouped(records, ("task", "step", "setting")):
        plain = [record for record in members if record["lam"] == 0]
        arms = _grouped([r for r in members if r["lam"] != 0], ("lam", "hook", "alignment"))
        sections += [_section(plain, arm) for arm in arms or [[]]]
    return "\n\n".join(sections) + "\n"


def _grouped(records: Sequence[Record], names: Sequence[str]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(json.dumps([record[name] for name in names], sort_keys=True), []).append(record)
    return list(groups.values())


def _section(plain: Sequence[Record], arm: Sequence[Record]) -> str:
    first = [*arm, *plain][0]
    for runs in (plain, arm):
        ids = {record["seed"]: record["id"] for record in runs}
        if twin := next((record for record in runs if ids[record["seed"]] != record["id"]), None):
            raise ValueError(
                f"'{twin['id']}' and '{ids[twin['seed']]}' are runs of the same setting and seed: keep one of the two."
            )
    setting = ", ".join(f"{name} {value}" for name, value in first["setting"].items()) or "one setting"
    changed = {name: value for name, value in first["alignment"].items() if value is not None}
    seeds = "; ".join(
        f"{name}: seed {', '.join(str(record['seed']) for record in runs)}"
        for name, runs in (("plain", plain), ("LISA", arm))
        if runs
    )
    title = f"### {first['task']}, step {first['step']}"
    if arm:
        hook = first["hook"] if isinstance(first["hook"], str) else " + ".join(first["hook"])
        title += f": lam {first['lam']:g} at {hook}" + "".join(f", {name} {value}" for name, value in changed.items())
    lines = [title, "", f"{setting}. {seeds}. {_samples(first)} A cell is untrained / plain / LISA (LISA - plain).", ""]
    return "\n".join([*lines, *_probe_table(plain, arm), "", *_share_table(plain, arm)])


def _samples(record: Record) -> str:
    if "pictures" not in record:
        return "Linear probes, R^2."
    pictures = record["pictures"]
    return (
        f"Linear probes, R^2 on {pictures['test']} test pictures, fitted on {pictures['fit']} others "
        f"({pictures['validation']} more to choose the penalty), with up to {record['pixels']} pixels of each."
    )


def _probe_table(plain: Sequence[Record], arm: Sequence[Record]) -> list[str]:
    columns = list(dict.fromkeys(row["quantile"] for row in [*arm, *plain][0]["rows"]))
    rows = [*arm, *plain][0]["rows"]
    targets = list(dict.fromkeys(row["target"] for row in rows))
    names = sorted(dict.fromkeys((row["target"], row["feature"]) for row in rows), key=lambda n: targets.index(n[0]))
    untrained = _values([*plain, *arm], "untrained")
    before, after = _values(plain, "r2"), _values(arm, "r2")
    lines = _head(["target", "feature", *map(_column, columns)])
    for target, feature in names:
        cells = []
        for quantile in columns:
            key = (target, feature, quantile)
            if key in untrained:
                start = _start(list(untrained[key].values()))
                cells.append(f"{start} / {_compared(before.get(key, {}), after.get(key, {}))}")
            else:
                cells.append("")
        lines.append(_line([target, feature, *cells]))
    return lines


def _start(values: Sequence[float]) -> str:
    """Of step 0, where a side network that is a copy is the same in every seed."""
    same = max(values) - min(values) < 0.5 * 10**-DIGITS
    return spread(values[:1] if same else values, DIGITS)


def _share_table(plain: Sequence[Record], arm: Sequence[Record]) -> list[str]:
    shares = [*arm, *plain][0]["decoder"]
    columns = [row["quantile"] for row in shares]
    names = [name for name in shares[0] if name != "quantile" and shares[0][name] is not None]
    before, after = _shares(plain), _shares(arm)
    lines = _head(["share of the gap explained", *map(_column, columns)])
    for name in sorted(names, key=lambda name: name == "network_r2"):
        keys = [(name, quantile) for quantile in columns]
        if name == "network_r2":
            cells = [_compared(before.get(key, {}), after.get(key, {})) for key in keys]
            lines.append(_line(["controlled network, plain / LISA (LISA - plain)", *cells]))
        else:
            decoder = f"decoder {name.partition('/')[2]}".strip()
            lines.append(_line([decoder, *(spread(list(after[key].values()), DIGITS) for key in keys)]))
    return lines


def _values(records: Sequence[Record], field: str) -> Values:
    found: Values = {}
    for record in records:
        for row in record["rows"]:
            key = (row["target"], row["feature"], row["quantile"])
            found.setdefault(key, {})[record["seed"]] = row[field]
    return found


def _shares(records: Sequence[Record]) -> Values:
    found: Values = {}
    for record in records:
        for row in record["decoder"]:
            for name, value in row.items():
                found.setdefault((name, row["quantile"]), {})[record["seed"]] = value
    return found


def _compared(before: Mapping[int, float], after: Mapping[int, float]) -> str:
    """plain / LISA (difference), with - for what there is not."""
    text = " / ".join(spread(list(values.values()), DIGITS) or "-" for values in (before, after))
    differences = [after[seed] - before[seed] for seed in after if seed in before]
    return f"{text} ({spread(differences, DIGITS, signed=True)})" if differences else text


def _column(quantile: float | None) -> str:
    return "all levels" if quantile is None else f"noise {quantile:g}"


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
