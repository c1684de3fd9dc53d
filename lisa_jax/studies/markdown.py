"""Tables in Markdown, and values over seeds as their cells have them."""

from collections.abc import Iterable, Sequence

import numpy as np


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a newline at its end."""
    return "\n".join([_line(columns), "|" + "---|" * len(columns), *map(_line, rows)])


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def spread(values: Sequence[float | None], digits: int, signed: bool = False) -> str:
    """ "mean ± sd" of values, the mean alone of one value, nothing of none.

    None stands for a value that was never reached: the mean is over the others and says over how many.
    """
    found = [value for value in values if value is not None]
    if not found:
        return "not reached" if values else ""
    text = f"{np.mean(found):{'+' if signed else ''}.{digits}f}"
    if len(found) > 1:
        text += f" ± {np.std(found, ddof=1):.{digits}f}"
    return text if len(found) == len(values) else f"{text} ({len(found)} of {len(values)})"
