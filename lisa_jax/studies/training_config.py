"""A cell as a training run: the config with which `lisa_jax train` does the same."""

import functools
import operator
from typing import Any

from ml_collections import ConfigDict

from lisa_jax.data.embedded.tasks import TASK_CONDITIONS
from lisa_jax.studies.fields import FIELDS, TRAINING_FIELDS, usual
from lisa_jax.studies.grid import Cell
from lisa_jax.studies.tasks import conditions_of

CONDITION, HOOK, SCHEDULE = "data.condition", "lisa.hook", "lisa.schedule"


def training_config(study: ConfigDict, cell: Cell) -> ConfigDict:
    """The config of a cell: the study's `training`, and what the cell says in its place.

    Raises:
      ValueError: data that no study can be done on, or a condition that they do not have.
    """
    fields = study.training.to_dict()
    decided = {field.place: getattr(cell, name) for name, field in FIELDS.items() if field.place}
    decided[CONDITION] = _condition(study, cell.task)
    decided[SCHEDULE] = "constant" if cell.lam_decay_steps is None else "cosine"
    if cell.hooks:
        decided[HOOK] = ",".join(cell.hooks)
    for place, value in decided.items():
        group, name = _group(fields, place)
        group[name] = value
    return ConfigDict(fields)


def shared_fields(study: ConfigDict) -> dict[str, Any]:
    """What a study's `training` says of all runs alike."""
    fields = study.training.to_dict()
    for place in (*(field.place for field in FIELDS.values() if field.place), CONDITION, HOOK, SCHEDULE):
        group, name = _group(fields, place)
        group.pop(name, None)
    return fields


def known_conditions(study: ConfigDict) -> dict[str, str]:
    """The tasks of one condition that a study's data have -> the condition as a training config names it.

    Raises:
      ValueError: data that no study can be done on.
    """
    name = study.training.data.name
    if name not in TASK_CONDITIONS:
        raise ValueError(f"Unknown data '{name}' of a study: there are {', '.join(TASK_CONDITIONS)}.")
    return TASK_CONDITIONS[name]


def unusual_training(config: ConfigDict) -> dict[str, Any]:
    """What of a training config, in the names of a cell's fields, is not as usual in births and optimizer."""
    found = {name: value_at(config, FIELDS[name].place) for name in TRAINING_FIELDS}
    return {name: value for name, value in found.items() if value != usual(name)}


def value_at(config: ConfigDict, place: str) -> Any:
    """What a training config has at a place like "optimizer.learning_rate"."""
    return functools.reduce(operator.getitem, place.split("."), config)


def _condition(study: ConfigDict, task: str) -> str | tuple[str, ...]:
    known, names = known_conditions(study), conditions_of(task)
    for name in names:
        if name not in known:
            raise ValueError(f"No condition '{name}' of task '{task}': there are {', '.join(known)}.")
    return tuple(known[name] for name in names) if len(names) > 1 else known[task]


def _group(fields: dict[str, Any], place: str) -> tuple[dict[str, Any], str]:
    """The dict that a place like "optimizer.learning_rate" is in, and its name there."""
    *groups, name = place.split(".")
    for group in groups:
        fields = fields[group]
    return fields, name
