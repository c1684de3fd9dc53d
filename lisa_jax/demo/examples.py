"""Examples of a run's test split, for those who have no condition at hand."""

import dataclasses
import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from lisa_jax.drawing.networks import Networks
from lisa_jax.experiments.splits import load_split
from lisa_jax.parallel.messages import one_line

_LOG = logging.getLogger("lisa_jax")
COUNT = 8


@dataclasses.dataclass(frozen=True)
class Example:
    """A caption, and its conditions by name: uint8 (H, W, channels)."""

    caption: str
    conditions: dict[str, np.ndarray]


def examples_of(networks: Networks, trusted: Collection[str] = ()) -> list[Example]:
    """The first examples of the test split; none of folders, which have no data set.

    Where the data cannot be read any more, a warning says so.

    Args:
      networks: of a run.
      trusted: see `load_split`.
    """
    if networks.config is None:
        return []
    try:
        split = load_split(networks.config, networks.family, "test", trusted).first(COUNT)
        batches = list(split.ordered_batches(COUNT))
    except (OSError, ValueError) as error:
        _LOG.warning("The page shows no examples: %s", one_line(error))
        return []
    return [
        Example(one["caption"], {name: rows[row] for name, rows in conditions.items()})
        for batch in batches
        for conditions in [split.conditions(batch)]
        for row, one in enumerate(split.examples(batch))
    ]


def write_conditions(folder: Path, examples: list[Example], networks: Networks) -> list[list[str]]:
    """PNG files of the conditions: of every example one by side network, in their order."""
    files = []
    for number, example in enumerate(examples):
        paths = {name: folder / f"example {number} {name}.png" for name in networks.names}
        for name, path in paths.items():
            networks.family.medium.write(path, example.conditions[name])
        files.append([str(path) for path in paths.values()])
    return files
