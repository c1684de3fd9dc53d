"""Heat maps of linear probes: how much of a target can be read off a side feature, by noise level."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from lisa_jax.reporting.words import field_name, value_name
from lisa_jax.studies.markdown import spread

Record = Mapping[str, Any]
_TARGETS = {"condition": "the condition", "clean": "the clean picture", "noise_level": "the noise level"}


@dataclasses.dataclass(frozen=True)
class Value:
    """A cell: its share of the scale in percent, what is printed and what is told on hovering."""

    percent: int
    text: str
    title: str


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """R² of one arm's features (rows) by noise quantile (columns); None where nothing was probed."""

    arm: str
    quantiles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Value | None, ...]], ...]


@dataclasses.dataclass(frozen=True)
class ProbeGroup:
    """Heat maps to be compared: one task, one step, one target, the arms side by side."""

    task: str
    label: str
    maps: tuple[HeatMap, ...]


def probe_groups(probes: Sequence[Record]) -> list[ProbeGroup]:
    """Heat maps by task, setting, step (the last first) and target, then of the shares of the gap explained."""
    groups: dict[tuple, list[Record]] = {}
    for probe in probes:
        groups.setdefault((probe["task"], _told(probe.get("setting")), probe["step"]), []).append(probe)
    tasks = list(dict.fromkeys(task for task, _, _ in groups))
    found = []
    for key in sorted(groups, key=lambda key: (tasks.index(key[0]), key[1], -key[2])):
        task, setting, step = key
        at = f"step {step}, {setting}" if setting else f"step {step}"
        members = groups[key]
        for target in dict.fromkeys(row["target"] for probe in members for row in probe["rows"]):
            label = f"{_TARGETS.get(target, target)}, {at}"
            found.append(_group(task, label, members, partial(_rows_of, target=target)))
        if any(probe.get("decoder") for probe in members):
            found.append(_group(task, f"the gap, explained by decoder and network, {at}", members, _decoder_rows))
    return found


def _rows_of(probe: Record, target: str) -> list[Record]:
    return [row for row in probe["rows"] if row["target"] == target]


def _decoder_rows(probe: Record) -> list[Record]:
    """One row for everything that is told of the gap: decoders, by hook where there are several, and the network."""
    return [
        {"feature": _explainer(name), "quantile": row["quantile"], "r2": value}
        for row in probe.get("decoder") or []
        for name, value in row.items()
        if name != "quantile" and value is not None
    ]


def _explainer(name: str) -> str:
    return "controlled network" if name == "network_r2" else f"decoder {name.partition('/')[2]}".strip()


def _group(task: str, label: str, probes: Sequence[Record], rows_of: Callable[[Record], list[Record]]) -> ProbeGroup:
    arms: dict[str, list[list[Record]]] = {}
    for probe in sorted(probes, key=lambda probe: probe["lam"] > 0):
        if rows := [row for row in rows_of(probe) if "r2" in row]:
            arms.setdefault(_arm(probe), []).append(rows)
    # Before training, all arms are the same.
    start = [row | {"r2": row.get("untrained")} for rows in next(iter(arms.values()), [[]])[:1] for row in rows]
    maps = [_heat_map("untrained", [start])] if start and all(row["r2"] is not None for row in start) else []
    maps += [_heat_map(f"{arm} ({_seeds(runs)})", runs) for arm, runs in arms.items()]
    return ProbeGroup(task, label, tuple(maps))


def _arm(probe: Record) -> str:
    if not probe["lam"]:
        return "plain"
    hook = probe["hook"]
    hook = value_name(tuple(hook) if isinstance(hook, list) else hook)
    return ", ".join(filter(None, [f"LISA λ {probe['lam']:g}", hook, _told(probe.get("alignment"))]))


def _told(fields: Mapping[str, Any] | None) -> str:
    """Fields with a value, in words."""
    return ", ".join(
        f"{field_name(name)} {value_name(value)}" for name, value in (fields or {}).items() if value is not None
    )


def _heat_map(title: str, runs: Sequence[Sequence[Record]]) -> HeatMap:
    values: dict[tuple, list[float]] = {}
    for row in (row for rows in runs for row in rows):
        if row["r2"] is not None:
            values.setdefault((row["feature"], row["quantile"]), []).append(row["r2"])
    features = list(dict.fromkeys(feature for feature, _ in values))
    quantiles = list(dict.fromkeys(quantile for _, quantile in values))
    rows = tuple((name, tuple(_value(values.get((name, quantile))) for quantile in quantiles)) for name in features)
    return HeatMap(
        title, tuple("all levels" if quantile is None else value_name(quantile) for quantile in quantiles), rows
    )


def _value(found: list[float] | None) -> Value | None:
    if not found:
        return None
    mean = float(np.mean(found))
    return Value(round(100 * min(max(mean, 0.0), 1.0)), f"{mean:.2f}", f"R² {spread(found, 3)}")


def _seeds(runs: Sequence[Any]) -> str:
    return f"{len(runs)} seed{'' if len(runs) == 1 else 's'}"
