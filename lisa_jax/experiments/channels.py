"""How many channels the conditions of a run have: its data say it, and its config notes it for who has no data."""

from ml_collections import ConfigDict

from lisa_jax.data.conditions.of_example import condition_of
from lisa_jax.data.conditions.registry import get_condition, is_own
from lisa_jax.data.embedded.load import load_embedded
from lisa_jax.data.prepared.metadata import Metadata
from lisa_jax.experiments.conditions import condition_specs, conditioning_channels
from lisa_jax.files.home import expanded
from lisa_jax.media.channels import RGB, not_rgb


def choose_channels(config: ConfigDict) -> None:
    """Note in `data.conditioning_channels` the conditions of the config's data that have not 3 channels.

    Raises:
      FileNotFoundError: there is no such data set.
      ValueError: the config says another number, or a condition is none, see `get_condition` and `check_condition`.
    """
    found = _channels_of_data(config)
    noted = not_rgb({name: found.get(name, RGB) for name in condition_specs(config)})
    if "conditioning_channels" not in config.data:
        config.data = ConfigDict(config.data.to_dict() | ({"conditioning_channels": noted} if noted else {}))
    for name, count in conditioning_channels(config).items():
        if noted.get(name, RGB) != count:
            raise ValueError(
                f"config.data.conditioning_channels gives the condition {name!r} {count}, but in the data it has "
                f"{noted.get(name, RGB)}: leave the field out."
            )


def _channels_of_data(config: ConfigDict) -> dict[str, int]:
    if config.data.name == "prepared":
        return Metadata.read(expanded(config.data.dir)).channels
    own = {name: spec for name, spec in condition_specs(config).items() if is_own(spec)}
    if not own:
        return {}
    example = load_embedded(config.data.name, config.data.image_size, "train")[0]
    functions = {name: get_condition(spec, own.values()) for name, spec in own.items()}
    where = f"{config.data.name} example 0"
    return {name: condition_of(one, example, name=name, where=where).shape[-1] for name, one in functions.items()}
