"""Sources of `prepare`: folders of pictures, Parquet, tar and TFDS, with damage and malice of all kinds."""

import random
from pathlib import Path

from fuzz.case import Case, drawn
from fuzz.sources import folder, parquet, place, tar
from fuzz.world import TABLE_COLUMNS, World, copied, prepare_command

KINDS = folder.KINDS | parquet.KINDS | tar.KINDS | place.KINDS


def case(rng: random.Random, world: World, inputs: Path) -> Case:
    """A source that was mutated, and `prepare`."""
    kind = drawn(rng, KINDS)
    source, out, columns = inputs / "source", inputs / "out", TABLE_COLUMNS
    if kind is place.tfds:
        copied(world.drawings, source)
        columns = "lineart"
    command = (*prepare_command(source, columns=columns), f"--out={out}")
    return Case.of(kind(rng, source), command, out)
