"""The conditions that a config asks for, by name."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from lisa_jax.data.conditions.names import name_of
from lisa_jax.data.prepared.metadata import Metadata
from lisa_jax.files.home import expanded
from lisa_jax.media.channels import RGB

# In place of a name: the condition that the prepared data set holds, where it holds one.
ANYTHING = "anything"


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


def choose_condition(config: ConfigDict) -> None:
    """Put the name of the prepared data set's only condition where the config says `anything`.

    Raises:
      FileNotFoundError: there is no such data set.
      ValueError: it holds several conditions, or none.
    """
    if config.data.condition != ANYTHING or config.data.name != "prepared":
        return
    held = Metadata.read(expanded(config.data.dir)).conditions
    if ANYTHING in held:
        return
    if len(held) != 1:
        raise ValueError(
            f"{config.data.dir} holds {' and '.join(held) or 'no condition'}: say which is meant, with "
            "--config.data.condition=NAME."
        )
    (config.data.condition,) = held


def conditioning_channels(config: ConfigDict) -> dict[str, int]:
    """Channels of each condition by name, in the config's order, as `data.conditioning_channels` notes them.

    Raises:
      ValueError: it names another condition.
    """
    noted, names = config.data.get("conditioning_channels", {}), condition_names(config)
    for name in noted:
        if name not in names:
            raise ValueError(
                f"config.data.conditioning_channels names {name!r}, but the conditions are {', '.join(names)}: leave "
                "the field out, and the data say it."
            )
    return {name: noted.get(name, RGB) for name in names}
