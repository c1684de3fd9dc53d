"""The log of a run: damaged, or with lines that are none."""

import random
from pathlib import Path

from fuzz import damage
from fuzz.case import Kinds, Mutation, Right

FILE = "metrics.jsonl"
LINES = (
    "[1]",
    "3",
    "null",
    '{"step": "x"}',
    '{"step": null}',
    '{"step": -1, "validation/main_loss": "x"}',
    '{"step": 1e999}',
    '{"loss": 1}',
    '{"step": 8, "validation/main_loss": [1]}',
    "{" * damage.DEEP,
    "\udcff",
)


def damaged(rng: random.Random, run: Path) -> Mutation:
    """A file that is damaged; not all commands read it."""
    how = damage.json_of(rng, run / FILE)
    return Mutation(f"{FILE}: {how}", Right.EITHER, (FILE,))


def line(rng: random.Random, run: Path) -> Mutation:
    """A line that is none."""
    path, added = run / FILE, rng.choice(LINES)
    lines = path.read_text().splitlines()
    lines.insert(rng.randrange(len(lines) + 1), added)
    path.write_text("\n".join(lines) + "\n", errors="surrogateescape")
    return Mutation(f"{FILE}: a line {added[:60]!r}", Right.EITHER, (FILE,))


KINDS: Kinds = {damaged: 4, line: 4}
