"""The fields of a cell, each said once: ids, pairs, summaries, probes and the page are derived from this table."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from lisa_jax.weighting import UNIFORM

# In place of a usual value where there is none: every cell says its own.
ALWAYS_SAID = object()


class Unusual(NamedTuple):
    """How a value that is not the usual one is said: in an id, in a column of `summary`, and in the page's words."""

    in_id: str
    in_column: str
    in_words: str


@dataclasses.dataclass(frozen=True)
class CellField:
    """What is to be known of a field of `grid.Cell` beside its type.

    Attributes:
      label: what heads its values: "learning rate".
      place: of a training config where it stands as it is; None: see `training_config`.
      choice: name of the decision about alignment that the field belongs to; fields of one decision have one name. None
        for a field that a run with alignment shares with the plain run it is compared with.
      usual: its value in plain training where it belongs to a decision, and in rows that are older than the field.
      remedy: whether it is meant to shorten the wait for control, see `remedies`.
      unusual: how any other value is written in labels, after lam and hooks; None for a field with a column of its own.
    """

    label: str
    place: str | None = None
    choice: str | None = None
    usual: Any = ALWAYS_SAID
    unusual: Unusual | None = None
    remedy: bool = False


# What cells have had from the start: an id depends on all of these.
_FIRST = {
    "task": CellField("task"),
    "lam": CellField("λ", "lisa.lam", "λ", usual=0.0),
    "learning_rate": CellField("learning rate", "optimizer.learning_rate"),
    "seed": CellField("seed", "seed"),
    "batch_size": CellField("batch", "batch_size"),
    "num_steps": CellField("steps", "num_steps"),
    "hooks": CellField("hook", None, "hook", usual=()),
    "lam_decay_steps": CellField(
        "fades out over (steps)",
        "lisa.decay_steps",
        "schedule of λ",
        None,
        Unusual("decay{}", "decay {}", "fading over {} steps"),
    ),
    "lam_stop_step": CellField(
        "stops at step", "lisa.stop_step", "schedule of λ", None, Unusual("stop{}", "stop {}", "until step {}")
    ),
    "compute_dtype": CellField("dtype", "compute_dtype", usual="float32"),
}
# What came later, and what will come: where it is as usual, an id is what it was before.
_LATER = {
    "align_every": CellField(
        "rows per aligned row",
        "lisa.align_every",
        "how often it is aligned",
        1,
        Unusual("every{}", "every {}", "aligning one row of {}"),
    ),
    "decoder_width": CellField(
        "decoder width",
        "lisa.decoder_width",
        "decoder width",
        1.0,
        Unusual("width{:g}", "decoder x{:g}", "decoder of width {:g}"),
    ),
    "weighting": CellField(
        "weighting",
        "lisa.weighting",
        "weighting of the alignment loss",
        UNIFORM,
        Unusual("{}", "{}", "weighting {}"),
    ),
    "decoder_rate": CellField(
        "decoder's learning rate over the rest's",
        "optimizer.decoder_rate",
        "learning rate of the decoder",
        1.0,
        Unusual("rate{:g}", "decoder's rate x{:g}", "decoder at {:g} times the rate"),
    ),
}
# Of how training goes, with alignment and without: the births of new layers and the optimizer. What a network computes
# does not depend on them.
_OF_TRAINING = {
    "fresh_rate": CellField(
        "learning rate of fresh layers over the rest's",
        "optimizer.fresh_rate",
        usual=1.0,
        unusual=Unusual("fresh{:g}", "fresh layers x{:g}", "fresh layers at {:g} times the rate"),
        remedy=True,
    ),
    "fresh_layers": CellField(
        "which fresh layers",
        "optimizer.fresh_layers",
        usual=None,
        unusual=Unusual("{}", "{} alone", "{} alone"),
        remedy=True,
    ),
    "fresh_steps": CellField(
        "steps to the rest's rate",
        "optimizer.fresh_steps",
        usual=None,
        unusual=Unusual("falling{}", "falling over {}", "falling over {} steps"),
        remedy=True,
    ),
    "condition_init": CellField(
        "birth of the condition's encoder",
        "side.condition_init",
        usual="zero",
        unusual=Unusual("condition-{}", "condition born {}", "condition's encoder born {}"),
        remedy=True,
    ),
    "zero_convolution_scale": CellField(
        "size of zero convolutions at birth",
        "side.zero_convolution_scale",
        usual=0.0,
        unusual=Unusual("zero{:g}", "zero convolutions born x{:g}", "zero convolutions born at {:g}"),
        remedy=True,
    ),
    "optimizer": CellField("optimizer", "optimizer.name", usual="adamw", unusual=Unusual("{}", "{}", "trained by {}")),
    "b1": CellField(
        "decay of the gradient's mean",
        "optimizer.b1",
        usual=0.9,
        unusual=Unusual("b1-{:g}", "b1 {:g}", "decay of the gradient's mean {:g}"),
    ),
    "b2": CellField(
        "decay of the gradient's square",
        "optimizer.b2",
        usual=0.999,
        unusual=Unusual("b2-{:g}", "b2 {:g}", "decay of the gradient's square {:g}"),
    ),
    "weight_decay": CellField(
        "weight decay",
        "optimizer.weight_decay",
        usual=1e-2,
        unusual=Unusual("decays{:g}", "weight decay {:g}", "weight decay {:g}"),
    ),
    "clip_norm": CellField(
        "largest norm of the gradient",
        "optimizer.clip_norm",
        usual=1.0,
        unusual=Unusual("clip{:g}", "clipped to {:g}", "gradient clipped to {:g}"),
    ),
    "eps": CellField(
        "Adam's epsilon",
        "optimizer.eps",
        usual=1e-8,
        unusual=Unusual("eps{:g}", "epsilon {:g}", "epsilon {:g}"),
        remedy=True,
    ),
    "schedule": CellField(
        "schedule of the learning rate",
        "optimizer.schedule",
        usual="constant",
        unusual=Unusual("{}", "{}", "learning rate by {}"),
    ),
    "ema_decay": CellField("EMA", "ema_decay", usual=None, unusual=Unusual("ema{:g}", "EMA {:g}", "EMA {:g}")),
}
FIELDS = {**_FIRST, **_LATER, **_OF_TRAINING}
TRAINING_FIELDS = tuple(_OF_TRAINING)
RUN_FIELDS = tuple(name for name, field in FIELDS.items() if field.choice is None)
ALIGNMENT_FIELDS = tuple(name for name, field in FIELDS.items() if field.choice is not None)


def usual(name: str) -> Any:
    """The usual value of a field."""
    return FIELDS[name].usual


def unusual(cell: Any, names: Iterable[str] = tuple(FIELDS)) -> list[tuple[Unusual, Any]]:
    """What of these fields is not as usual in a `grid.Cell`: how that is said, and the value."""
    values = [(FIELDS[name], getattr(cell, name)) for name in names if FIELDS[name].unusual]
    return [(field.unusual, value) for field, value in values if value != field.usual]


def in_ids(cell: Any) -> dict[str, Any]:
    """What of a `grid.Cell` its id depends on."""
    values = {name: getattr(cell, name) for name in FIELDS}
    return {name: value for name, value in values.items() if name in _FIRST or value != usual(name)}
