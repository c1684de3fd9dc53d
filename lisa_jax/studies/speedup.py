"""How much sooner one curve reaches a value than another; a curve is a run's list of points by step."""

from collections.abc import Mapping, Sequence

from lisa_jax.evaluation.measures.table import lower_is_better

LOSS = "validation/main_loss"
# The decoder's loss over its target's power.
ALIGN = "validation/align_over_gap"
# The residuals over what they are added to.
GATE = "validation/gate_norm"

Curve = Sequence[Mapping[str, float]]


def falls(measure: str) -> bool:
    """Whether a measure of a curve (`validation/main_loss`, `fidelity/...`, `quality/...`) falls as things improve."""
    return measure == LOSS or measure.startswith("quality/") or lower_is_better(measure)


def measured(curve: Curve, measure: str) -> list[tuple[float, float]]:
    """(step, value) wherever a curve has a measure."""
    return [(point["step"], point[measure]) for point in curve if measure in point]


def steps_to_reach(curve: Curve, measure: str, value: float) -> float | None:
    """First step at which a curve reaches a value, linear between its points; None if it never does.

    What falls as things get better is reached from above, everything else from below; before the first point nothing is
    known, so the earliest answer is its step.
    """
    sign = -1.0 if falls(measure) else 1.0
    previous = None
    for step, found in measured(curve, measure):
        height = sign * found
        if height >= sign * value:
            if previous is None:
                return float(step)
            share = (sign * value - previous[1]) / (height - previous[1])
            return previous[0] + share * (step - previous[0])
        previous = (step, height)
    return None


def speedup(curve: Curve, baseline: Curve, measure: str, step: float) -> float | None:
    """How much sooner a curve reaches the value of the baseline's first point at or after a step; None: never."""
    value = next(value for at, value in measured(baseline, measure) if at >= step)
    reached = steps_to_reach(curve, measure, value)
    return None if reached is None else steps_to_reach(baseline, measure, value) / reached
