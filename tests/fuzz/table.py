"""How many cases of each group ended how: the table that a run over many prints."""

from collections import Counter
from collections.abc import Mapping

from fuzz.case import Verdict


def table(found: Mapping[str, Counter]) -> str:
    """Markdown: a row a group, a column a verdict."""
    header = ["group", "cases", *(verdict.value for verdict in Verdict)]
    rows = [header, ["---"] * len(header)]
    rows += [_row(group, counts) for group, counts in found.items()]
    rows.append(_row("all", sum(found.values(), Counter())))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(group: str, counts: Counter) -> list[str]:
    return [group, str(counts.total()), *(str(counts[verdict]) for verdict in Verdict)]
