"""The one door: a checkpoint names a class, and the class decides which family reads it.

A new family is a file beside this one and a line in `FAMILIES`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from lisa_jax.checkpoints.params import Placement
from lisa_jax.families import stable_diffusion
from lisa_jax.families.family import Architecture, Family, Setup

# Class in model_index.json, or where there is no such file in unet/config.json -> what reads the checkpoint's configs.
FAMILIES: Mapping[str, Callable[[Checkpoint], Architecture]] = MappingProxyType(
    {
        "StableDiffusionPipeline": stable_diffusion.read_architecture,
        "StableDiffusionControlNetPipeline": stable_diffusion.read_architecture,
        "StableDiffusionImg2ImgPipeline": stable_diffusion.read_architecture,
        # Its main network may see more than latents, which the family then says.
        "StableDiffusionInpaintPipeline": stable_diffusion.read_architecture,
        "UNet2DConditionModel": stable_diffusion.read_architecture,
    }
)


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """The architecture of a checkpoint.

    Raises:
      CheckpointError: a class that is no family here, or a config that the family does not support.
    """
    index = checkpoint.file("", "model_index.json")
    place = ("", "model_index.json") if index is not None else ("unet", "config.json")
    class_name = checkpoint.config(*place).get("_class_name", "UNet2DConditionModel")
    if class_name not in FAMILIES:
        raise CheckpointError(
            f"{checkpoint.where(*place)} names a {class_name}, which is not supported: {', '.join(FAMILIES)} are."
        )
    return FAMILIES[class_name](checkpoint)


def load_family(spec: str | Path, setup: Setup, placement: Placement = None) -> Family:
    """The family of a base, see `Architecture.load`; `spec` as `open_checkpoint` takes it."""
    checkpoint = open_checkpoint(spec)
    return architecture_of(checkpoint).load(setup, checkpoint, placement)
