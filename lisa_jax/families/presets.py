"""Published architectures by name, of all families, and checkpoints of them with random weights."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from lisa_jax.families import (
    stable_diffusion_3_presets,
    stable_diffusion_presets,
    stable_diffusion_xl_presets,
    stable_video_diffusion_presets,
)
from lisa_jax.families.family import Architecture


class Preset(Protocol):
    """Everything about a checkpoint but its weights.

    Attributes:
      architecture: the networks.
      image_size: side of the images that the model was made for.
    """

    @property
    def architecture(self) -> Architecture: ...

    @property
    def image_size(self) -> int: ...

    def write(self, folder: Path, seed: int) -> None:
        """Write a whole checkpoint with weights that are random but keep activations in bounds."""


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        **stable_diffusion_presets.PRESETS,
        **stable_diffusion_xl_presets.PRESETS,
        **stable_diffusion_3_presets.PRESETS,
        **stable_video_diffusion_presets.PRESETS,
    }
)


def preset_of(name: str) -> Preset:
    """The preset of a name; raises ValueError, listing the names, for one that is unknown."""
    if name not in PRESETS:
        raise ValueError(f"Unknown preset '{name}': there are {', '.join(PRESETS)}.")
    return PRESETS[name]


def write_random_base(name: str, folder: str | Path, seed: int = 0) -> Path:
    """Write a whole checkpoint of a preset with random weights.

    Tensors are drawn and written one at a time: memory stays at a few times the largest of them, whatever the model.

    Args:
      name: of the preset.
      folder: appears when it is whole.
      seed: the same seed gives the same bytes.

    Returns:
      The folder.
    Raises:
      ValueError: an unknown preset.
      FileExistsError: the folder exists.
    """
    chosen, folder = preset_of(name), Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists: remove it, or name another folder.")
    partial = folder.with_name(folder.name + ".partial")
    chosen.write(partial, seed)
    partial.rename(folder)
    return folder
