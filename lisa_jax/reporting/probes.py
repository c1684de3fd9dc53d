"""Heat maps of linear probes: how much of a target can be read off a side feature, by noise level."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lisa_jax.probing.comparison import (
    DIGITS,
    EXPLAINED,
    Comparison,
    Probe,
    ProbedArm,
    Record,
    comparisons,
    features,
    quantiles,
)
from lisa_jax.reporting.words import field_name, value_name
from lisa_jax.studies.markdown import spread

_TARGETS = {"condition": "the condition", "clean": "the clean picture", "noise_level": "the noise level"}
_TARGETS[EXPLAINED] = "the gap, explained by decoder and network"


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
    """Heat maps by task, setting, step (the last first) and target, then of the shares of the gap explained.

    Raises:
      ValueError: two runs that differ in nothing but their id.
    """
    found = comparisons(probes)
    tasks = list(dict.fromkeys(one.task for one in found))
    found.sort(key=lambda one: (tasks.index(one.task), _told(one.setting), -one.step))
    return [_group(one, target) for one in found for target in one.targets()]


def _group(comparison: Comparison, target: str) -> ProbeGroup:
    at = ", ".join(filter(None, [f"step {comparison.step}", _told(comparison.setting)]))
    maps = [_heat_map("untrained", comparison.untrained, target)]
    maps += [
        _heat_map(
            f"{_name(arm)} ({_seeds(arm)})",
            {key: list(by_seed.values()) for key, by_seed in arm.scores.items()},
            target,
        )
        for arm in (comparison.plain, *comparison.arms)
        if arm.runs
    ]
    label = f"{_TARGETS.get(target, target)}, {at}"
    return ProbeGroup(comparison.task, label, tuple(one for one in maps if one.rows))


def _name(arm: ProbedArm) -> str:
    if not arm.first["lam"]:
        return "plain"
    told = _told(arm.first["alignment"])
    return ", ".join(filter(None, [f"LISA λ {arm.first['lam']:g}", value_name(arm.hooks), told]))


def _told(fields: Mapping[str, Any]) -> str:
    """Fields with a value, in words."""
    return ", ".join(f"{field_name(name)} {value_name(value)}" for name, value in fields.items() if value is not None)


def _heat_map(title: str, scores: Mapping[Probe, Sequence[float]], target: str) -> HeatMap:
    columns = quantiles(scores, [target])
    rows = tuple(
        (feature, tuple(_value(scores.get((target, feature, quantile))) for quantile in columns))
        for feature in features(scores, target)
    )
    return HeatMap(
        title, tuple("all levels" if quantile is None else value_name(quantile) for quantile in columns), rows
    )


def _value(found: Sequence[float] | None) -> Value | None:
    if not found:
        return None
    mean = float(np.mean(found))
    return Value(round(100 * min(max(mean, 0.0), 1.0)), f"{mean:.2f}", f"R² {spread(found, DIGITS)}")


def _seeds(arm: ProbedArm) -> str:
    return f"{len(arm.runs)} seed{'' if len(arm.runs) == 1 else 's'}"
