"""Which conditions of a run are pictures in colours of classes, that must be resized without mixing any."""

import logging
from collections.abc import Mapping
from pathlib import Path

from ml_collections import ConfigDict

from lisa_jax.data.conditions.registry import shows_classes
from lisa_jax.data.prepared.layout import Metadata
from lisa_jax.experiments.conditions import condition_specs

_LOG = logging.getLogger("lisa_jax")


def class_conditions(config: ConfigDict) -> frozenset[str]:
    """Names of a run's conditions whose colours are classes: those known by name, and what was said to `prepare`.

    Where the prepared data are not at hand any more, a warning says what is not known.
    """
    specs = condition_specs(config)
    known = {name for name, spec in specs.items() if shows_classes(spec)}
    if config.data.name == "prepared" and not known.issuperset(specs):
        try:
            known |= prepared_classes(Metadata.read(Path(config.data.dir)))
        except OSError:
            _LOG.warning(
                "%s cannot be read: whether colours of %s are classes is not known; where they are, add --nearest=%s.",
                *(config.data.dir, ", ".join(specs), ",".join(specs)),
            )
    return frozenset(known & set(specs))


def prepared_classes(metadata: Metadata) -> set[str]:
    """Names of a prepared data set's conditions whose colours are classes: given ones by --nearest, or computed."""
    said, made = metadata.settings.get("nearest"), metadata.settings.get("conditions")
    computed = {name for name, spec in made.items() if shows_classes(str(spec))} if isinstance(made, Mapping) else set()
    return computed | ({str(name) for name in said} if isinstance(said, list) else set())
