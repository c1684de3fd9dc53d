"""Probed runs side by side: plain training and every arm of LISA, with what could be read before training."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lisa_jax.studies.grid import read_hooks

DIGITS = 3
# The target under which the shares of the gap stand that decoders and controlled network explain.
EXPLAINED = "explained"
NETWORK = "controlled network"

# A line of `records`.
Record = Mapping[str, Any]
# Target, feature, and quantile of the noise level: None for all of them together.
Probe = tuple[str, str, float | None]
# R^2 of each probe by seed.
Scores = dict[Probe, dict[int, float]]


@dataclasses.dataclass(frozen=True)
class ProbedArm:
    """Runs that differ in their seed alone, or none.

    Attributes:
      runs: by seed.
      scores: of the probes, and under EXPLAINED the shares of the gap, whose features are "decoder" (of several hooks
        their mean, and one for each, "decoder mid") and "controlled network".
    """

    runs: Mapping[int, Record]
    scores: Scores

    @property
    def first(self) -> Record:
        """Of its first run, for what all have in common."""
        return next(iter(self.runs.values()))

    @property
    def hooks(self) -> tuple[str, ...]:
        return read_hooks(self.first["hook"])


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs of one task and setting at one step.

    Attributes:
      task, step, setting: as records have them.
      plain: plain training, without runs where there was none.
      arms: those with LISA.
      untrained: scores at step 0, one value where all seeds have the same.
    """

    task: str
    step: int
    setting: Mapping[str, Any]
    plain: ProbedArm
    arms: tuple[ProbedArm, ...]
    untrained: Mapping[Probe, Sequence[float]]

    def targets(self) -> list[str]:
        """What was probed for, EXPLAINED last."""
        found = dict.fromkeys(target for arm in (self.plain, *self.arms) for target, _, _ in arm.scores)
        return sorted(found, key=lambda target: target == EXPLAINED)


def comparisons(records: Iterable[Record]) -> list[Comparison]:
    """What can be compared, in the order of its first record.

    Raises:
      ValueError: two runs that differ in nothing but their id.
    """
    groups = _grouped(records, lambda record: [record[name] for name in ("task", "step", "setting")])
    return [_comparison(members) for members in groups]


def features(scores: Iterable[Probe], target: str) -> list[str]:
    """The features that a target was read from."""
    return list(dict.fromkeys(feature for of, feature, _ in scores if of == target))


def quantiles(scores: Iterable[Probe], targets: Sequence[str]) -> list[float | None]:
    """The noise levels at which targets were read, None for all together."""
    return list(dict.fromkeys(quantile for target, _, quantile in scores if target in targets))


def _comparison(records: Sequence[Record]) -> Comparison:
    aligned = [record for record in records if record["lam"]]
    arms = _grouped(aligned, lambda record: [record["lam"], read_hooks(record["hook"]), record["alignment"]])
    return Comparison(
        *(records[0][name] for name in ("task", "step", "setting")),
        plain=_arm([record for record in records if not record["lam"]]),
        arms=tuple(map(_arm, arms)),
        untrained=_untrained(records),
    )


def _grouped(records: Iterable[Record], key: Callable[[Record], Any]) -> list[list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(json.dumps(key(record), sort_keys=True), []).append(record)
    return list(groups.values())


def _arm(records: Sequence[Record]) -> ProbedArm:
    runs: dict[int, Record] = {}
    scores: Scores = {}
    for record in records:
        twin = runs.setdefault(record["seed"], record)
        if twin["id"] != record["id"]:
            raise ValueError(
                f"'{twin['id']}' and '{record['id']}' are runs of the same setting and seed: keep one of the two."
            )
        for key, value in (*_probed(record, "r2"), *_explained(record)):
            scores.setdefault(key, {})[record["seed"]] = value
    return ProbedArm(runs, scores)


def _untrained(records: Sequence[Record]) -> dict[Probe, Sequence[float]]:
    """Step 0, where a side network that is a copy is the same in every seed."""
    scores: Scores = {}
    for record in records:
        for key, value in _probed(record, "untrained"):
            scores.setdefault(key, {})[record["seed"]] = value
    values = {key: list(by_seed.values()) for key, by_seed in scores.items()}
    return {key: found[:1] if max(found) - min(found) < 0.5 * 10**-DIGITS else found for key, found in values.items()}


def _probed(record: Record, field: str) -> Iterator[tuple[Probe, float]]:
    for row in record["rows"]:
        yield (row["target"], row["feature"], row["quantile"]), row[field]


def _explained(record: Record) -> Iterator[tuple[Probe, float]]:
    """Decoders before the network that they are to teach."""
    for row in record["decoder"]:
        named = {name: value for name, value in row.items() if name != "quantile" and value is not None}
        for name in sorted(named, key=lambda name: name == "network_r2"):
            feature = NETWORK if name == "network_r2" else f"decoder {name.partition('/')[2]}".strip()
            yield (EXPLAINED, feature, row["quantile"]), named[name]
