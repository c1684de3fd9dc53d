"""The conditions that a config asks for, by name."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from lisa_jax.data.conditions.names import name_of


def condition_specs(config: ConfigDict) -> dict[str, str]:
    """Name of each condition -> the condition as `data.conditions.get_condition` takes it; {} for a main network alone.

    `data.condition` is one of them or a tuple of several; a `module:function` goes by the function's name.

    Raises:
      ValueError: two conditions of one name.
    """
    given = config.data.get("condition")
    specs: Sequence[str] = () if given is None else (given,) if isinstance(given, str) else tuple(given)
    named = {name_of(spec): spec for spec in specs}
    if len(named) < len(specs):
        raise ValueError(f"config.data.condition is {', '.join(specs)}: give conditions of different names.")
    return named


def condition_names(config: ConfigDict) -> tuple[str, ...]:
    """Names of the conditions, in the config's order; a side network each."""
    return tuple(condition_specs(config))
