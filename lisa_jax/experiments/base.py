"""The base that a config names, with the settings of the side networks beside it."""

from jax.sharding import Mesh
from ml_collections import ConfigDict

from lisa_jax.checkpoints.checkpoint import Checkpoint, open_checkpoint
from lisa_jax.experiments.conditions import condition_names, conditioning_channels
from lisa_jax.families.family import Architecture, Family, Setup
from lisa_jax.families.presets import preset_of
from lisa_jax.families.registry import architecture_of, check_left_out
from lisa_jax.files.home import expanded
from lisa_jax.files.hub import hub_file, hub_name
from lisa_jax.files.path_list import split_named_paths
from lisa_jax.media.image import IMAGE
from lisa_jax.media.medium import Medium
from lisa_jax.media.video import VIDEO
from lisa_jax.parallel.sharding import REPLICATED, placement


def load_base(config: ConfigDict, mesh: Mesh | None = None) -> Family:
    """The family of the base that a config names, with the config's side networks.

    Args:
      config: fields base, vae, leave_out, data.condition, side, dtypes and the rest of `setup_of`.
      mesh: where each tensor of the main network goes as soon as it is read, split or not as `mesh.split_frozen` says;
        None: it stays in numpy.

    Raises:
      CheckpointError, ValueError: as `Architecture.load`, and for settings that do not exist.
    """
    checkpoint = open_base(config)
    found = architecture_of(checkpoint)
    rules = found.rules if config.mesh.split_frozen else REPLICATED
    return found.load(setup_of(config), checkpoint, None if mesh is None else placement(rules, mesh))


def setup_of(config: ConfigDict) -> Setup:
    """The networks beside the base, as a config says them."""
    return Setup(
        conditions=condition_names(config),
        condition_channels=tuple(config.condition_channels),
        conditioning_channels=conditioning_channels(config),
        start_from=start_folders(config),
        block_out_channels=None if config.side.block_out_channels is None else tuple(config.side.block_out_channels),
        layers_per_block=config.side.layers_per_block,
        num_layers=config.side.num_layers,
        lora_rank=config.side.lora_rank,
        frozen_dtype=config.frozen_dtype,
        compute_dtype=config.compute_dtype,
        remat=config.remat,
        attention=config.attention,
        decoder_width=config.lisa.decoder_width,
        condition_init=config.side.condition_init,
        zero_convolution_scale=config.side.zero_convolution_scale,
    )


def chosen_preset(config: ConfigDict, preset: str | None) -> str | None:
    """Name of the preset that a config is compiled with where no weights are needed; None: its base's own architecture.

    Args:
      config: its base's own is taken, where the base is there; else that of the field `preset`.
      preset: name of one in place of both, or None.

    Raises:
      ValueError: neither base nor preset.
    """
    if preset is None and expanded(config.base).exists():
        return None
    name = preset or config.preset
    if name is None:
        raise ValueError(
            f"{config.base} is not there, and the config names no preset: give --preset, or --config.base."
        )
    return name


def architecture(config: ConfigDict, preset: str | None) -> Architecture:
    """The architecture that `chosen_preset` decides; ValueError as there, and for a preset that does not exist."""
    name = chosen_preset(config, preset)
    if name is None:
        return architecture_of(open_base(config))
    found = preset_of(name).architecture
    check_left_out(found, left_out(config))
    return found


def open_base(config: ConfigDict) -> Checkpoint:
    """The base that a config names, without what it leaves out and with the VAE that it names."""
    return open_checkpoint(config.base, left_out(config), config.vae)


def left_out(config: ConfigDict) -> tuple[str, ...]:
    """Components of the base that a config leaves out."""
    return tuple(name.strip() for name in (config.leave_out or "").split(",") if name.strip())


def example_size(config: ConfigDict) -> tuple[int, ...]:
    """(H, W) of an image of the config's data, or (F, H, W) of a video; one number `data.image_size` is a square's."""
    size = config.data.image_size
    return (size, size) if isinstance(size, int) else tuple(size)


def medium_of(config: ConfigDict) -> Medium:
    """What the config's data are, by their size."""
    return VIDEO if len(example_size(config)) == VIDEO.axes else IMAGE


def absolute_paths(config: ConfigDict) -> None:
    """Make the config's folders absolute: other commands read it from the work directory, wherever they are started.

    Names of the hub stay as they are.
    """
    config.base = _absolute(config.base)
    if config.vae is not None:
        config.vae = _absolute(config.vae)
    if "dir" in config.data:
        config.data.dir = str(expanded(config.data.dir).absolute())
    starts = {name: _absolute(folder) for name, folder in start_folders(config).items()}
    if len(condition_names(config)) == 1 and starts:
        (config.side.start_from,) = starts.values()
    elif starts:
        config.side.start_from = ",".join(f"{name}={folder}" for name, folder in starts.items())


def _absolute(checkpoint: str) -> str:
    is_local = hub_name(checkpoint) is None and hub_file(checkpoint) is None
    return str(expanded(checkpoint).absolute()) if is_local else checkpoint


def start_folders(config: ConfigDict) -> dict[str, str]:
    """`side.start_from` by condition: one folder for the only one, else name=FOLDER with commas between.

    Raises:
      ValueError: a folder without a name where there are several conditions.
    """
    given, names = config.side.start_from, condition_names(config)
    if given is None:
        return {}
    if len(names) == 1 and not given.startswith(f"{names[0]}="):
        return {names[0]: given}
    pairs = [pair.partition("=") for pair in split_named_paths(given)]
    if not all(name and folder for name, _, folder in pairs):
        raise ValueError(
            f"config.side.start_from is '{given}': with the conditions {', '.join(names)} write {names[0]}=FOLDER, "
            "several with commas between."
        )
    return {name: folder for name, _, folder in pairs}
