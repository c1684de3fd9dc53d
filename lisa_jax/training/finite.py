"""Refusing to go on from numbers that are not finite."""

import jax
import numpy as np

from lisa_jax.metrics import LossMetrics

# What of a step must be finite. Parameters too: an update can overflow them though loss and gradient are fine.
_CHECKED = ("loss", "grad_norm", "update_norm", "param_norm")


class NonFiniteLossError(FloatingPointError):
    """The loss of a step, its gradient or the parameters after it are not finite."""


def check_finite(found: LossMetrics, step: int, key: jax.Array) -> None:
    """Raise NonFiniteLossError for what a step has found; waits until it is computed.

    Args:
      found: metrics of the step.
      step: its number, from 0.
      key: the run's, which the step folds its number into.
    """
    values = {name: float(np.asarray(found.means[name].total / found.means[name].count)) for name in _CHECKED}
    if np.isfinite(list(values.values())).all():
        return
    t, example_loss = np.asarray(found.t), np.asarray(found.example_loss)
    broken = t[~np.isfinite(example_loss)]
    where = (
        f"in {broken.size} of {t.size} examples, at noise levels {broken}" if broken.size else f"at noise levels {t}"
    )
    raise NonFiniteLossError(
        f"Step {step} is not finite: {', '.join(f'{name} {value:g}' for name, value in values.items())}, {where}; "
        f"key {np.asarray(jax.random.key_data(jax.random.fold_in(key, step)))}. Nothing of this step was saved: "
        "lower the learning rate, or look at this step's batch."
    )
