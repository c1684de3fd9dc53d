"""Stable Diffusion XL with ControlNets: a UNet with three levels that knows two text encoders and the picture's size.

The checkpoint has `unet/`, `scheduler/`, `vae/`, `tokenizer/` and `text_encoder/` (CLIP-L), `tokenizer_2/` and
`text_encoder_2/` (CLIP-G). Networks, latents and side networks are those of Stable Diffusion; the context is another
one, see `sdxl_text`. The published VAE overflows in float16, not in bfloat16 or float32, which are
all that there is here.
"""

import dataclasses
import hashlib
from pathlib import Path

from lisa_jax.checkpoints.checkpoint import Checkpoint
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.unet import UNET
from lisa_jax.checkpoints.vae import VAE
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.families.schedulers import read_scheduler
from lisa_jax.families.sdxl_text import SDXLText, read_sdxl_text
from lisa_jax.families.stable_diffusion import PIXEL_USAGE, StableDiffusion
from lisa_jax.families.stable_diffusion_checks import check_latents, check_side_network
from lisa_jax.families.stable_diffusion_xl_checks import check_context, check_not_refiner
from lisa_jax.families.usage import TEMPLATES, Usage
from lisa_jax.processes import Diffusion

USAGE = Usage(
    "ControlNet",
    ("diffusers", "controlnet", "stable-diffusion-xl", "text-to-image"),
    TEMPLATES / "stable_diffusion.md.jinja",
    "StableDiffusionXLControlNetPipeline",
    """\
It was trained with each picture's own size, as it was and after cropping, in the base's time ids. By default the
pipeline asks for a picture that was made at its size and not cropped. Without a negative prompt it takes what captions
were dropped for in training: zeros, where `force_zeros_for_empty_prompt` of the base is true.
""",
)
_NO_ZEROS = "force_zeros_for_empty_prompt: false"


@dataclasses.dataclass(frozen=True)
class StableDiffusionXL(StableDiffusion):
    """The networks of a checkpoint, without weights; as `StableDiffusion`, with other text encoders."""

    text: SDXLText

    @property
    def components(self) -> dict[str, str | None]:
        """See `StableDiffusion`."""
        networks = {"unet": DIFFUSERS_WEIGHTS} | ({} if self.vae is None else {"vae": DIFFUSERS_WEIGHTS})
        return {**networks, "scheduler": None, **self.text.components}

    @property
    def usage(self) -> Usage:
        """See `StableDiffusion`."""
        return PIXEL_USAGE if self.vae is None else USAGE

    def blank_conditioner(self) -> Conditioner:
        """See `StableDiffusion`."""
        return self.text.abstract()

    def conditioner(self, checkpoint: Checkpoint) -> Conditioner:
        """See `StableDiffusion`."""
        return self.text.load(checkpoint)

    def fingerprint(self, checkpoint: Checkpoint) -> str:
        """See `StableDiffusion`; what no caption is counts, too, where it is not what it usually is."""
        found = super().fingerprint(checkpoint)
        # Bases whose captions are zeros keep the fingerprint that they had before it was asked.
        return found if self.text.zeros_when_empty else hashlib.sha256(f"{found} {_NO_ZEROS}".encode()).hexdigest()

    def write_index(self, folder: str | Path) -> None:
        """See `StableDiffusion`."""
        absent = [None, None]
        components = {
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": absent if self.vae is None else ["diffusers", "AutoencoderKL"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", self.scheduler.get("_class_name", "EulerDiscreteScheduler")],
            "feature_extractor": absent,
            "image_encoder": absent,
            "force_zeros_for_empty_prompt": self.text.zeros_when_empty,
        }
        write_config(folder, components, "StableDiffusionXLPipeline", name="model_index.json")


def read_architecture(checkpoint: Checkpoint) -> StableDiffusionXL:
    """The configs of a Stable Diffusion XL checkpoint.

    Raises:
      CheckpointError: a part that is missing, not supported, or does not fit the others, by name.
    """
    unet = UNET.config(checkpoint, "unet")
    check_not_refiner(checkpoint, unet)
    text = read_sdxl_text(checkpoint)
    check_context(checkpoint, unet, text)
    vae = VAE.config(checkpoint, "vae") if checkpoint.has("vae") else None
    check_latents(checkpoint, unet, vae)
    check_side_network(checkpoint, unet)
    return StableDiffusionXL(
        unet, text, vae, read_scheduler(checkpoint, Diffusion, "Stable Diffusion is a discrete diffusion")
    )
