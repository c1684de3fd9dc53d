"""Running means as pairs of sum and count, so that microbatches, devices and steps add up without weights."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Mean(NamedTuple):
    """A sum and the number of terms in it, both scalar float32."""

    total: jax.Array
    count: jax.Array


class LossMetrics(NamedTuple):
    """What a loss reports beside its value.

    Attributes:
      means: name -> Mean, what is logged.
      t: (n,) noise level of each example, in the noise process's unit.
      example_loss: (n,) main loss of each example; tells which noise levels broke when a loss is not finite.
    """

    means: dict[str, Mean]
    t: jax.Array
    example_loss: jax.Array


def means_by_quartile(quantile: jax.Array, **per_example: jax.Array) -> dict[str, Mean]:
    """Mean of per-example values, overall and by quartile.

    Args:
      quantile: (n,) in [0, 1).
      **per_example: name -> (n,) float32.

    Returns:
      `name` and `name_q1` ... `name_q4` as Means.
    """
    quartile = jnp.clip(jnp.floor(quantile * 4).astype(jnp.int32), 0, 3)
    members = jax.nn.one_hot(quartile, 4, axis=0)
    means = {}
    for name, values in per_example.items():
        means[name] = mean(values)
        for index in range(4):
            means[f"{name}_q{index + 1}"] = Mean(jnp.sum(members[index] * values), jnp.sum(members[index]))
    return means


def mean(values: jax.Array) -> Mean:
    """Per-example values (n,) as a Mean."""
    return Mean(jnp.sum(values), jnp.float32(values.size))


def scalar(value: jax.Array) -> Mean:
    """One value as a Mean over one term."""
    return Mean(jnp.asarray(value, jnp.float32), jnp.float32(1))


def add(a: Mapping[str, Mean], b: Mapping[str, Mean]) -> dict[str, Mean]:
    """Sum of two sets of Means; a name that stands in one only keeps its value."""
    return {
        name: jax.tree.map(jnp.add, a[name], b[name]) if name in a and name in b else (a | b)[name] for name in a | b
    }


def summarise(means: Mapping[str, Mean]) -> dict[str, float]:
    """Values of Means, and the ratios that they imply.

    `main_over_target` is the main loss over the target's power; `align_over_gap` is the alignment loss over the power
    of the gap, 1 where the decoder explains nothing and 0 where it explains all; `main_over_gap` is the same for the
    controlled network: the decoder has something to teach while its share is the smaller. Empty quartiles are left out.
    With several hooks `align_over_gap/<hook>` is the share of each. `gate_norm`, in place of the two powers that it is
    made of, is the norm of the residuals over that of what they are added to; it rises as control opens.
    """
    values = {name: float(np.asarray(m.total) / m.count) for name, m in means.items() if np.asarray(m.count) > 0}
    for ratio, above, below in (
        ("main_over_target", "main_loss", "target_power"),
        ("align_over_gap", "align_loss", "gap_power"),
        ("main_over_gap", "main_loss", "gap_power"),
    ):
        for suffix in ("", "_q1", "_q2", "_q3", "_q4"):
            if above + suffix in values and values.get(below + suffix, 0) > 0:
                values[ratio + suffix] = values[above + suffix] / values[below + suffix]
    residuals, joined = values.pop("residual_power", 0.0), values.pop("joined_power", 0.0)
    if joined > 0:
        values["gate_norm"] = (residuals / joined) ** 0.5
    if values.get("gap_power", 0) > 0:
        by_hook = {name.removeprefix("align_loss/"): name for name in values if name.startswith("align_loss/")}
        values |= {f"align_over_gap/{hook}": values[name] / values["gap_power"] for hook, name in by_hook.items()}
    return values
