"""The one door: a checkpoint names a class, and the class decides which family reads it.

A new family is a file beside this one and a line in `FAMILIES`.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from lisa_jax.checkpoints.params import Placement
from lisa_jax.checkpoints.recognise import no_base, no_pipeline
from lisa_jax.families import stable_diffusion, stable_diffusion_3, stable_diffusion_xl, stable_video_diffusion
from lisa_jax.families.family import Architecture, Family, Setup

# Class in model_index.json, or where there is no such file in unet/config.json -> what reads the checkpoint's configs.
FAMILIES: Mapping[str, Callable[[Checkpoint], Architecture]] = MappingProxyType(
    {
        "StableDiffusionPipeline": stable_diffusion.read_architecture,
        "StableDiffusionControlNetPipeline": stable_diffusion.read_architecture,
        "StableDiffusionImg2ImgPipeline": stable_diffusion.read_architecture,
        # Its main network may see more than latents, which the family then says.
        "StableDiffusionInpaintPipeline": stable_diffusion.read_architecture,
        "StableDiffusionXLPipeline": stable_diffusion_xl.read_architecture,
        "StableDiffusionXLControlNetPipeline": stable_diffusion_xl.read_architecture,
        # The refiner's, which the family then says.
        "StableDiffusionXLImg2ImgPipeline": stable_diffusion_xl.read_architecture,
        "StableDiffusionXLInpaintPipeline": stable_diffusion_xl.read_architecture,
        "StableDiffusion3Pipeline": stable_diffusion_3.read_architecture,
        "StableDiffusion3ControlNetPipeline": stable_diffusion_3.read_architecture,
        "StableDiffusion3Img2ImgPipeline": stable_diffusion_3.read_architecture,
        "StableDiffusion3InpaintPipeline": stable_diffusion_3.read_architecture,
        "StableVideoDiffusionPipeline": stable_video_diffusion.read_architecture,
        "UNet2DConditionModel": stable_diffusion.read_architecture,
    }
)


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """The architecture of a checkpoint.

    Raises:
      CheckpointError: a class that is no family here, or a config that the family does not support.
      ValueError: something is left out that the family cannot do without.
    """
    if checkpoint.has_config(name="model_index.json"):
        place = ("", "model_index.json")
    elif checkpoint.has("unet"):
        place = ("unet", "config.json")
    else:
        raise CheckpointError(no_base(Path(checkpoint.where())))
    class_name = str(checkpoint.config(*place).get("_class_name", "UNet2DConditionModel"))
    if class_name not in FAMILIES:
        raise CheckpointError(f"{checkpoint.where(*place)} names {no_pipeline(class_name, FAMILIES)}")
    found = FAMILIES[class_name](checkpoint)
    check_left_out(found, checkpoint.left_out)
    return found


def check_left_out(architecture: Architecture, components: Collection[str]) -> None:
    """Raise ValueError for a component that the architecture cannot do without, with those that it can."""
    for component in sorted(set(components) - set(architecture.optional)):
        optional = ", ".join(architecture.optional)
        raise ValueError(
            f"leave_out names {component!r}, but of this base {f'only {optional}' if optional else 'nothing'} can be "
            "left out."
        )


def load_family(
    spec: str | Path,
    setup: Setup,
    placement: Placement = None,
    leave_out: Collection[str] = (),
    vae: str | Path | None = None,
) -> Family:
    """The family of a base, see `Architecture.load`; `spec`, `leave_out` and `vae` as `open_checkpoint` takes them."""
    checkpoint = open_checkpoint(spec, leave_out, vae)
    return architecture_of(checkpoint).load(setup, checkpoint, placement)
