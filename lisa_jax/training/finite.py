"""Refusing to go on from numbers that are not finite, with what is known of where they come from."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.metrics import LossMetrics, Mean
from lisa_jax.training.experiment import Batches

# What of a step must be finite. Parameters too: an update can overflow them though loss and gradient are fine.
_CHECKED = ("loss", "grad_norm", "update_norm", "param_norm")
# Mean of what no trained network has a part in -> what it is of, and what to do.
_FROZEN = {
    "target_power": "The target of its loss is not finite, though its batch is: look at the base's VAE and scheduler.",
    "gap_power": "The frozen network's own prediction is not finite, though its batch is: try "
    "config.compute_dtype=float32, or another base.",
}


class NonFiniteLossError(FloatingPointError):
    """The loss of a step, its gradient or the parameters after it are not finite.

    Attributes:
      step: its number, from 0.
      what: what of it is not finite.
      cause: where that comes from, as far as the step itself tells, and what to do.
    """

    def __init__(self, step: int, what: str, cause: str):
        super().__init__(f"Step {step} is not finite: {what}. Nothing of this step was saved. {cause}")
        self.step, self.what, self.cause = step, what, cause


def check_finite(found: LossMetrics, step: int, key: jax.Array) -> None:
    """Raise NonFiniteLossError for what a step has found; waits until it is computed.

    Args:
      found: metrics of the step.
      step: its number, from 0.
      key: the run's, which the step folds its number into.
    """
    values = {name: _value(found.means[name]) for name in _CHECKED}
    if np.isfinite(list(values.values())).all():
        return
    t, example_loss = np.asarray(found.t), np.asarray(found.example_loss)
    broken = t[~np.isfinite(example_loss)]
    where = f"in {broken.size} of {t.size} examples, " if broken.size else ""
    # On one line, and of many examples the first and the last.
    where += f"at noise levels {np.array2string(broken if broken.size else t, max_line_width=2000, threshold=16)}"
    told = ", ".join(f"{name} {value:g}" for name, value in values.items())
    folded = np.asarray(jax.random.key_data(jax.random.fold_in(key, step)))
    raise NonFiniteLossError(step, f"{told}, {where}; key {folded}", _cause(found, values, step))


@contextlib.contextmanager
def looking_at_the_batch(batches: Batches) -> Iterator[None]:
    """Where a step is refused, read its batch again: a row that is not finite itself is the cause, and is named."""
    try:
        yield
    except NonFiniteLossError as error:
        row = _broken_row(next(batches.iterate(error.step)))
        raise error if row is None else NonFiniteLossError(error.step, error.what, row) from None


def _value(mean: Mean) -> float:
    return float(np.asarray(mean.total / mean.count))


def _cause(found: LossMetrics, values: Mapping[str, float], step: int) -> str:
    for name, sentence in _FROZEN.items():
        if name in found.means and not np.isfinite(_value(found.means[name])):
            return sentence
    if np.isfinite(values["loss"]) and np.isfinite(values["grad_norm"]):
        return "Loss and gradient are finite, the update is not: lower the learning rate."
    if step == 0:
        return (
            "Nothing has been learned yet, so the learning rate is not the cause: the networks overflow with these "
            "weights; try config.compute_dtype=float32, or another base."
        )
    return "Its batch is finite, and the steps before were: lower the learning rate."


def _broken_row(batch: Mapping[str, Any]) -> str | None:
    """The first row of a batch with inputs that are not finite, in a sentence; None where there is none."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch["inputs"]):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        rows = np.flatnonzero(~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1))
        if rows.size:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            which = f" (example {batch['index'][rows[0]]}, {batch['caption'][rows[0]]!r})" if "index" in batch else ""
            return f"Its data are not finite either: {name} of row {rows[0]}{which}; prepare them again."
    return None
