"""The encoders of a base without its main network: all that preparing a data set needs."""

import dataclasses
from pathlib import Path

from lisa_jax.checkpoints.clip_text import clip_text_config
from lisa_jax.checkpoints.folder import DIFFUSERS_WEIGHTS, CheckpointError, fingerprint, read_config
from lisa_jax.families.autoencoder import load_autoencoder
from lisa_jax.families.family import LatentSpace, TextSpace
from lisa_jax.families.pixels import PIXELS
from lisa_jax.families.stable_diffusion import COMPONENTS, clip_text_space


@dataclasses.dataclass(frozen=True)
class Encoders:
    """Latent space, text encoder and fingerprint of a base: those that its `Family` has."""

    latents: LatentSpace
    text: TextSpace
    fingerprint: str


def load_encoders(folder: str | Path) -> Encoders:
    """Load the VAE, where there is one, and the text encoder of a Stable Diffusion folder, in float32.

    Raises:
      CheckpointError: a part that is missing or does not fit its config, by name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder} is missing: give the folder of a diffusers Stable Diffusion checkpoint as base."
        )
    vae = folder / "vae"
    components = COMPONENTS | ({"vae": DIFFUSERS_WEIGHTS} if vae.exists() else {})
    return Encoders(
        latents=load_autoencoder(vae) if vae.exists() else PIXELS,
        text=clip_text_space(folder, clip_text_config(read_config(folder / "text_encoder"))),
        fingerprint=fingerprint(folder, components),
    )
