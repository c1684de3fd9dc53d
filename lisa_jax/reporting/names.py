"""What studies, their tasks and training runs are called where several stand on one page: never by their folders."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lisa_jax.evaluation.tasks import task_of
from lisa_jax.reporting.folders import Folder
from lisa_jax.reporting.words import data_name, field_name, listed, spaced, task_name, told, value_name
from lisa_jax.studies.fields import FIELDS, RUN_FIELDS

# The fields of a config that are places of files: of those the last part is the name.
_PLACES = ("base", "vae", "data.dir", "side.start_from")
# Where an identity has the name of the data: today, and in results of before.
_DATA_PLACES = (("protocol", "training", "data", "name"), ("protocol", "data"))
# What `evaluate` says of what it measured.
_OF_EVALUATIONS = ("step", "examples", "split", "weights", "seed")
# What is known of something by name: "learning rate" -> "learning rate 0.001"; "" where there is nothing to say.
Facts = Mapping[str, str]


def study_names(folders: Sequence[Folder]) -> list[str]:
    """Names of studies: their titles, or tasks and data, and of those that are alike what they differ in."""
    names = [folder.title or _described(folder) for folder in folders]
    apart = told_apart(names, [_study_facts(folder, tasks_of(folder)) for folder in folders])
    return [", ".join([name, *facts]) for name, facts in zip(names, apart, strict=True)]


def task_titles(studies: Sequence[Folder]) -> list[dict[str, str]]:
    """For each study task -> title: the task's name, and in brackets what tells it from that of another study."""
    keys = [(number, task) for number, study in enumerate(studies) for task in tasks_of(study)]
    names = [task_name(task) for _, task in keys]
    facts = [{"title": studies[number].title} | _study_facts(studies[number], [task]) for number, task in keys]
    titles: list[dict[str, str]] = [{} for _ in studies]
    for (number, task), name, apart in zip(keys, names, told_apart(names, facts), strict=True):
        titles[number][task] = f"{name} ({', '.join(apart)})" if apart else name
    return titles


def run_names(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of training runs: "plain" or "LISA", and of those that are alike what their configs differ in."""
    names = ["LISA" if lam_of(config) else "plain" for config in configs]
    apart = told_apart(names, [_config_facts(config) for config in configs])
    return [", ".join([name, *facts]) for name, facts in zip(names, apart, strict=True)]


def trained_task(config: Mapping[str, Any]) -> str:
    """The name of what a training run learns: of its conditions, or a base's, which has none."""
    condition = (config.get("data") or {}).get("condition")
    return "base model" if condition is None else task_name(task_of(condition))


def evaluation_names(evaluations: Sequence[Mapping[str, Any]]) -> list[str]:
    """What evaluations are of: "line art, step 800, examples 64"."""
    names = [
        ", ".join(
            [
                task_name(str(evaluation["task"])) if "task" in evaluation else "samples",
                *(f"{key} {value_name(evaluation[key])}" for key in _OF_EVALUATIONS if key in evaluation),
            ]
        )
        for evaluation in evaluations
    ]
    apart = told_apart(names, [{} for _ in names])
    return [", ".join([name, *facts]) for name, facts in zip(names, apart, strict=True)]


def lam_of(config: Mapping[str, Any]) -> float:
    """Weight of the alignment loss in a run's config, 0 where it says none."""
    return float((config.get("lisa") or {}).get("lam") or 0)


def tasks_of(folder: Folder) -> list[str]:
    """The tasks of a study, in the order of their first run."""
    return list(dict.fromkeys(row["cell"].task for row in folder.rows))


def told_apart(names: Sequence[str], facts: Sequence[Facts]) -> list[list[str]]:
    """What to say beside each name: of those that are alike the first facts that tell them apart, and nothing else.

    Those without such a fact are numbered: "1 of 2".
    """
    said: list[list[str]] = [[] for _ in names]
    for members in _alike(range(len(names)), names):
        for key in dict.fromkeys(key for number in members for key in facts[number]):
            values = {number: facts[number].get(key, "") for number in members}
            if any(len({values[number] for number in group}) > 1 for group in _alike(members, said)):
                for number in members:
                    said[number].append(values[number])
        for group in _alike(members, said):
            for place, number in enumerate(group, 1):
                said[number] += [f"{place} of {len(group)}"] if len(group) > 1 else []
    return [[fact for fact in told if fact] for told in said]


def _alike(numbers: Sequence[int], named: Sequence[Any]) -> list[list[int]]:
    """Numbers by what stands for them in `named`."""
    groups: dict[str, list[int]] = {}
    for number in numbers:
        groups.setdefault(repr(named[number]), []).append(number)
    return list(groups.values())


def _described(study: Folder) -> str:
    data = _data_of(study)
    return listed([task_name(task) for task in tasks_of(study)]) + (f" on {data}" if data else "")


def _study_facts(study: Folder, tasks: Sequence[str]) -> dict[str, str]:
    """Data, and the settings of runs of these tasks."""
    cells = [row["cell"] for row in study.rows if row["cell"].task in tasks]
    facts = {"data": _data_of(study)}
    for name in RUN_FIELDS:
        if name not in ("task", "seed"):
            words = dict.fromkeys(told(name, getattr(cell, name)) for cell in cells)
            facts[name] = " or ".join(filter(None, words))
    return facts


def _data_of(study: Folder) -> str:
    """What the data of a study are called, "" where its results do not say."""
    for place in _DATA_PLACES:
        found: Any = study.identity
        for name in place:
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, str):
            return data_name(found)
    return ""


def _config_facts(config: Mapping[str, Any]) -> dict[str, str]:
    """All that a config says: what cells have first, then the rest."""
    flat = dict(_flat(config))
    labels = {field.place: field.label for field in FIELDS.values() if field.place in flat}
    return {
        place: "" if flat[place] is None else f"{labels.get(place, _place_name(place))} {_value(place, flat[place])}"
        for place in (*labels, *(place for place in flat if place not in labels))
    }


def _value(place: str, value: Any) -> str:
    return spaced(PurePath(value).name) if place in _PLACES and isinstance(value, str) else value_name(value)


def _place_name(place: str) -> str:
    """ "side.num_layers" -> "side num layers"."""
    return " ".join(map(field_name, place.split(".")))


def _flat(fields: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", value
