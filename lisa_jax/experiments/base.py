"""The base that a config names, with the settings of its side networks."""

from pathlib import Path

from ml_collections import ConfigDict

from lisa_jax.checkpoints.folder import Placement
from lisa_jax.experiments.condition_fields import condition_names
from lisa_jax.experiments.control import decoder_width
from lisa_jax.families.family import Family
from lisa_jax.families.stable_diffusion import load_stable_diffusion

DTYPES = ("float32", "bfloat16")


def load_family(config: ConfigDict, placement: Placement = None) -> Family:
    """The base that a config names, with its side network's settings; raises ValueError for an unknown dtype.

    Args:
      config: fields base, data.condition, side, dtypes.
      placement: where each tensor of the main network goes as soon as it is read; None: it stays in numpy.
    """
    for name in ("frozen_dtype", "compute_dtype"):
        if config[name] not in DTYPES:
            raise ValueError(f"config.{name} is '{config[name]}': use {' or '.join(DTYPES)}.")
    conditions, side = condition_names(config), config.side
    return load_stable_diffusion(
        config.base,
        condition_channels=tuple(config.condition_channels),
        conditions=conditions,
        start_from=_start_folders(side.start_from, conditions),
        block_out_channels=side.block_out_channels,
        layers_per_block=side.layers_per_block,
        frozen_dtype=config.frozen_dtype,
        compute_dtype=config.compute_dtype,
        remat=config.remat,
        attention=config.attention,
        decoder_width=decoder_width(config),
        placement=placement,
    )


def absolute_paths(config: ConfigDict) -> None:
    """Make the config's folders absolute: other commands read it from the work directory, wherever they are started."""
    config.base = str(Path(config.base).absolute())
    if "dir" in config.data:
        config.data.dir = str(Path(config.data.dir).absolute())
    start = _start_folders(config.side.start_from, condition_names(config))
    if isinstance(start, dict):
        config.side.start_from = ",".join(f"{name}={Path(folder).absolute()}" for name, folder in start.items())
    elif start is not None:
        config.side.start_from = str(Path(start).absolute())


def _start_folders(start_from: str | None, conditions: tuple[str, ...] | None) -> str | dict[str, str] | None:
    """`side.start_from` as the family takes it: several side networks are written name=FOLDER,name=FOLDER."""
    if start_from is None or conditions is None:
        return start_from
    pairs = [pair.partition("=") for pair in start_from.split(",")]
    if not all(name and folder for name, _, folder in pairs):
        raise ValueError(
            f"config.side.start_from is '{start_from}': with the conditions {', '.join(conditions)} write "
            f"{conditions[0]}=FOLDER, several with commas between."
        )
    return {name: folder for name, _, folder in pairs}
