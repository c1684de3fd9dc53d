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
from lisa_jax.reporting.words import field_name, spaced, task_name, value_name
from lisa_jax.studies.fields import FIELDS, usual
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
    varied = {task: _varied([one.setting for one in found if one.task == task]) for task in tasks}
    return [_group(one, target, varied[one.task]) for one in found for target in one.targets()]


def _varied(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The fields that are not the same in all settings."""
    names = dict.fromkeys(name for setting in settings for name in setting)
    return [name for name in names if any(setting.get(name) != settings[0].get(name) for setting in settings)]


def _group(comparison: Comparison, target: str, varied: Sequence[str]) -> ProbeGroup:
    setting = _told({name: comparison.setting.get(name) for name in varied})
    at = ", ".join(filter(None, [f"step {comparison.step}", setting]))
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
    label = f"{_TARGETS.get(target, spaced(target))}, {at}"
    return ProbeGroup(task_name(comparison.task), label, tuple(one for one in maps if one.rows))


def _name(arm: ProbedArm) -> str:
    if not arm.first["lam"]:
        return "plain"
    alignment = arm.first["alignment"].items()
    told = _told({name: value for name, value in alignment if name not in FIELDS or value != usual(name)})
    return ", ".join(filter(None, [f"LISA λ {arm.first['lam']:g}", f"hook {value_name(arm.hooks)}", told]))


def _told(fields: Mapping[str, Any]) -> str:
    """Fields with a value, in words."""
    return ", ".join(f"{field_name(name)} {value_name(value)}" for name, value in fields.items() if value is not None)


def _heat_map(title: str, scores: Mapping[Probe, Sequence[float]], target: str) -> HeatMap:
    columns = quantiles(scores, [target])
    rows = tuple(
        (spaced(feature), tuple(_value(scores.get((target, feature, quantile))) for quantile in columns))
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
