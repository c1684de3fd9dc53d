"""Comparisons of probes as Markdown: plain training and LISA side by side, mean ± standard deviation over seeds."""

from collections.abc import Sequence

from lisa_jax.probing.comparison import (
    DIGITS,
    EXPLAINED,
    NETWORK,
    Comparison,
    Probe,
    ProbedArm,
    Record,
    comparisons,
    features,
    quantiles,
)
from lisa_jax.studies.markdown import spread, table

_NO_RUNS = ProbedArm({}, {})


def markdown(records: Sequence[Record]) -> str:
    """Two tables for every arm: R^2 of the probes, and the shares of the gap that decoder and network explain.

    Runs are compared that share task, step and setting; differences are of pairs of the same seed.

    Raises:
      ValueError: two runs that differ in nothing but their id.
    """
    found = comparisons(records)
    return "\n\n".join(_section(one, arm) for one in found for arm in one.arms or (_NO_RUNS,)) + "\n"


def _section(comparison: Comparison, arm: ProbedArm) -> str:
    plain = comparison.plain
    title = f"### {comparison.task}, step {comparison.step}{_described(arm)}"
    setting = ", ".join(f"{name} {value}" for name, value in comparison.setting.items()) or "one setting"
    seeds = "; ".join(
        f"{name}: seed {', '.join(map(str, one.runs))}" for name, one in (("plain", plain), ("LISA", arm)) if one.runs
    )
    samples = _samples((arm if arm.runs else plain).first)
    told = f"{setting}. {seeds}. {samples} A cell is untrained / plain / LISA (LISA - plain)."
    return "\n\n".join([title, told, _probe_table(comparison, arm), _share_table(plain, arm)])


def _described(arm: ProbedArm) -> str:
    if not arm.runs:
        return ""
    changed = {name: value for name, value in arm.first["alignment"].items() if value is not None}
    options = "".join(f", {name} {value}" for name, value in changed.items())
    return f": lam {arm.first['lam']:g} at {' + '.join(arm.hooks)}{options}"


def _samples(record: Record) -> str:
    if "pictures" not in record:
        return "Linear probes, R^2."
    pictures = record["pictures"]
    return (
        f"Linear probes, R^2 on {pictures['test']} test pictures, fitted on {pictures['fit']} others "
        f"({pictures['validation']} more to choose the penalty), with up to {record['pixels']} pixels of each."
    )


def _probe_table(comparison: Comparison, arm: ProbedArm) -> str:
    untrained, targets = comparison.untrained, [name for name in comparison.targets() if name != EXPLAINED]
    columns = quantiles(untrained, targets)

    def cell(key: Probe) -> str:
        if key not in untrained:
            return ""
        return f"{spread(untrained[key], DIGITS)} / {_compared(comparison.plain, arm, key)}"

    rows = [
        [target, feature, *(cell((target, feature, quantile)) for quantile in columns)]
        for target in targets
        for feature in features(untrained, target)
    ]
    return table(["target", "feature", *map(_column, columns)], rows)


def _share_table(plain: ProbedArm, arm: ProbedArm) -> str:
    scores = (arm if arm.runs else plain).scores
    columns = quantiles(scores, [EXPLAINED])
    rows = []
    for name in features(scores, EXPLAINED):
        keys = [(EXPLAINED, name, quantile) for quantile in columns]
        if name == NETWORK:
            label = f"{name}, plain / LISA (LISA - plain)"
            rows.append([label, *(_compared(plain, arm, key) for key in keys)])
        else:
            rows.append([name, *(spread(list(scores[key].values()), DIGITS) for key in keys)])
    return table(["share of the gap explained", *map(_column, columns)], rows)


def _compared(plain: ProbedArm, arm: ProbedArm, key: Probe) -> str:
    """plain / LISA (difference), with - for what there is not."""
    before, after = (one.scores.get(key, {}) for one in (plain, arm))
    text = " / ".join(spread(list(values.values()), DIGITS) or "-" for values in (before, after))
    differences = [after[seed] - before[seed] for seed in after if seed in before]
    return f"{text} ({spread(differences, DIGITS, signed=True)})" if differences else text


def _column(quantile: float | None) -> str:
    return "all levels" if quantile is None else f"noise {quantile:g}"
