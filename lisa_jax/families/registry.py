"""The one door: a checkpoint names a class, and the class decides which family reads it.

A new family is a file beside this one and a line in `FAMILIES`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from lisa_jax.checkpoints.params import Placement
from lisa_jax.checkpoints.recognise import no_base, what_pipeline
from lisa_jax.families import stable_diffusion, stable_diffusion_3
from lisa_jax.families.family import Architecture, Family, Setup

# Class in model_index.json, or where there is no such file in unet/config.json -> what reads the checkpoint's configs.
FAMILIES: Mapping[str, Callable[[Checkpoint], Architecture]] = MappingProxyType(
    {
        "StableDiffusionPipeline": stable_diffusion.read_architecture,
        "StableDiffusionControlNetPipeline": stable_diffusion.read_architecture,
        "StableDiffusionImg2ImgPipeline": stable_diffusion.read_architecture,
        # Its main network may see more than latents, which the family then says.
        "StableDiffusionInpaintPipeline": stable_diffusion.read_architecture,
        "StableDiffusion3Pipeline": stable_diffusion_3.read_architecture,
        "StableDiffusion3ControlNetPipeline": stable_diffusion_3.read_architecture,
        "StableDiffusion3Img2ImgPipeline": stable_diffusion_3.read_architecture,
        "UNet2DConditionModel": stable_diffusion.read_architecture,
    }
)


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """The architecture of a checkpoint.

    Raises:
      CheckpointError: a class that is no family here, or a config that the family does not support.
    """
    if (checkpoint.folder / "model_index.json").exists():
        place = ("", "model_index.json")
    elif checkpoint.has("unet"):
        place = ("unet", "config.json")
    else:
        raise CheckpointError(no_base(Path(checkpoint.where())))
    class_name = str(checkpoint.config(*place).get("_class_name", "UNet2DConditionModel"))
    if class_name not in FAMILIES:
        model = what_pipeline(class_name)
        raise CheckpointError(
            f"{checkpoint.where(*place)} names a {class_name[:80]}{f' ({model})' if model else ''}, which is not "
            f"supported: {', '.join(FAMILIES)} are."
        )
    return FAMILIES[class_name](checkpoint)


def load_family(spec: str | Path, setup: Setup, placement: Placement = None) -> Family:
    """The family of a base, see `Architecture.load`; `spec` as `open_checkpoint` takes it."""
    checkpoint = open_checkpoint(spec)
    return architecture_of(checkpoint).load(setup, checkpoint, placement)
