"""The fields of a study's config, as `experiments.fields` has those of a training config, and their check."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from lisa_jax.evaluation.extractors import EXTRACTORS
from lisa_jax.experiments.bounds import HOOK, MOST_CELLS, ROWS, STEPS
from lisa_jax.experiments.fields import CONTROL, Fields, check_config, check_optimizer, check_together
from lisa_jax.experiments.kinds import Choice, Group, Kind, Maybe, Several, Text, Truth, Whole, or_unset, require, shown
from lisa_jax.studies.fields import ALWAYS_SAID, FIELDS, TRAINING_FIELDS
from lisa_jax.studies.training_config import value_at
from lisa_jax.training.optimizer import OWN_FIELDS

# Of a cell as grids write it, see `grid.read_cell`.
CELL: dict[str, Kind] = {
    "task": Text(),
    "hook": or_unset(HOOK),
    **{name: CONTROL[field.place] for name, field in FIELDS.items() if field.place},
}
# That a cell does without only where its grid or the defaults say them; lam decides whether a hook is needed.
NEEDED = ("lam", *(name for name, field in FIELDS.items() if field.usual is ALWAYS_SAID))
# Of the alignment, those whose usual value a training config has, too.
_OF_ALIGNMENT = ("decoder_rate", "decoder_width", "weighting", "align_every")
# That each cell decides by its task, whose conditions are the package's.
_OF_CONDITIONS = ("data.condition", "data.conditioning_channels")

STUDY: Fields = {
    "title": Text(empty=True),
    **{f"training.{name}": kind for name, kind in CONTROL.items() if name not in _OF_CONDITIONS},
    "training.data.condition": Maybe(CONTROL["data.condition"]),
    "sample_at": Several(STEPS, 0, 10_000),
    "validation.draws": Whole(1, 1000),
    "validation.num_examples": or_unset(ROWS),
    "validation.probe": ROWS,
    "extractor.name": Choice(("", *EXTRACTORS)),
    "extractor.weights": Text(empty=True),
    "save_side": Truth(),
    **{f"defaults.{name}": Maybe(kind) for name, kind in CELL.items()},
    # Of cells; `grid.cells_of` knows which fields.
    "grids": Several(Group(), 1, 10_000),
}


def check_study(config: ConfigDict) -> ConfigDict:
    """Return the config of a study; ValueError as `check_config`, and for a value in a grid that no cell can have."""
    check_config(config, STUDY)
    check_together(config.training, "config.training")
    _check_shared(config.training)
    for number, grid in enumerate(config.grids):
        _check_grid({**config.defaults, **grid}, f"config.grids[{number}]", config.training.optimizer)
    return config


def _check_shared(training: ConfigDict) -> None:
    """Refuse values that no cell would have, for each puts its own, or the usual one, in their place."""
    if training.keep_best is not None:
        raise ValueError(
            f"config.training.keep_best is {shown(training.keep_best)}, but a study keeps no checkpoints: unset it."
        )
    if tuple(training.trackers) != ("tensorboard",):
        raise ValueError(
            f"config.training.trackers is {shown(training.trackers)}, but a study tells none: leave it at tensorboard."
        )
    for name in (*TRAINING_FIELDS, *_OF_ALIGNMENT):
        place, usual = FIELDS[name].place, FIELDS[name].usual
        value = value_at(training, place)
        if value != usual:
            raise ValueError(
                f"config.training.{place} is {shown(value)}, but cells decide it: leave it at {shown(usual)} and set "
                f"config.defaults.{name}, or a grid's."
            )


def _check_grid(fields: Mapping[str, Any], where: str, optimizer: ConfigDict) -> None:
    crossed = {name: value if isinstance(value, tuple) else (value,) for name, value in fields.items()}
    if (count := math.prod(map(len, crossed.values()))) > MOST_CELLS:
        raise ValueError(f"{where} has {count:,} cells, but a grid may have {MOST_CELLS:,}.")
    # Fields that a cell does not have are refused where cells are made.
    for name, kind in CELL.items():
        for value in crossed.get(name, ()):
            require(f"{where}.{name}", value, kind)
        if name not in crossed and name in NEEDED:
            raise ValueError(f"{where}.{name} is missing, in config.defaults too: give {kind}.")
    _check_optimizers(crossed, where, optimizer)


def _check_optimizers(crossed: Mapping[str, Sequence[Any]], where: str, optimizer: ConfigDict) -> None:
    """Refuse a value that some cell's optimizer does not read."""
    of_optimizer = [name for name in ("optimizer", *OWN_FIELDS) if name in crossed]
    for values in itertools.product(*(crossed[name] for name in of_optimizer)):
        said = dict(zip(of_optimizer, values, strict=True))
        check_optimizer({**optimizer, "name": said.pop("optimizer", optimizer.name), **said}, where)
