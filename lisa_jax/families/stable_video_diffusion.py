"""Stable Video Diffusion with ControlNets of videos: a UNet that looks along time, and knows a clip's first frame.

The checkpoint has `unet/`, `scheduler/`, `vae/`, `image_encoder/` and `feature_extractor/`; one without `vae/` works on
patches of pixels. There is no text: the context is the first frame, as an embedding and as latents, and three numbers,
see `svd_conditioner`. Side networks see a condition frame by frame, as pictures in [0, 1], in training, in sampling and
in what is exported.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from lisa_jax.checkpoints.checkpoint import Checkpoint
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.params import Placement
from lisa_jax.checkpoints.scheduler import process_of
from lisa_jax.checkpoints.temporal_controlnet import TEMPORAL_CONTROLNET
from lisa_jax.checkpoints.temporal_unet import TEMPORAL_UNET
from lisa_jax.checkpoints.temporal_vae import TEMPORAL_VAE
from lisa_jax.checkpoints.weight_files import DIFFUSERS_WEIGHTS
from lisa_jax.dual_branch import DualBranch, Params
from lisa_jax.families import stable_diffusion
from lisa_jax.families.abstract import not_read, shapes_of
from lisa_jax.families.export_check import Measured
from lisa_jax.families.family import UNIT_PICTURES, Family, LatentSpace, Setup
from lisa_jax.families.pixel_videos import patch_of, patches, pixel_videos
from lisa_jax.families.schedulers import read_scheduler
from lisa_jax.families.side_networks import SideStart
from lisa_jax.families.stable_video_diffusion_checks import check_context, check_latents, check_setup
from lisa_jax.families.svd_conditioner import FrameLatents, SVDImageEncoder, read_svd_image_encoder
from lisa_jax.families.svd_latents import DECODE_CHUNK, frame_latents, temporal_latents
from lisa_jax.families.temporal_check import TORCH_MODULE, check_temporal_controlnet
from lisa_jax.families.temporal_control import temporal_side
from lisa_jax.families.temporal_side_networks import continued_temporal_side, copied_temporal_side
from lisa_jax.families.unet_control import unet_functions
from lisa_jax.families.usage import TEMPLATES, Usage
from lisa_jax.media.channels import RGB, not_rgb
from lisa_jax.media.video import VIDEO
from lisa_jax.models.temporal_unet import TemporalUNet, TemporalUNetConfig
from lisa_jax.models.temporal_vae import AutoencoderKLTemporalDecoderConfig
from lisa_jax.parallel.sharding import Rules
from lisa_jax.processes import EDM

# Blends of frames and time are one number each.
RULES: Rules = (*stable_diffusion.RULES, (r"mix_factor$", P()))
USAGE = Usage(
    "ControlNet",
    ("controlnet", "stable-video-diffusion", "image-to-video"),
    TEMPLATES / "stable_video_diffusion.md.jinja",
    "StableVideoDiffusionPipeline",
    module=TORCH_MODULE,
)
# Of a base without a VAE, which diffusers' pipeline cannot run.
PIXEL_USAGE = Usage(
    "ControlNet",
    ("controlnet", "image-to-video"),
    TEMPLATES / "pixel_temporal_unet.md.jinja",
    module=TORCH_MODULE,
)
# As diffusers' pipeline does unless told otherwise; it decodes all frames together, which takes much memory.
SAMPLING = MappingProxyType(
    {
        "sampler": "euler",
        "num_steps": 25,
        "guidance_scale": 3.0,
        "min_guidance_scale": 1.0,
        "decode_chunk": DECODE_CHUNK,
    }
)


@dataclasses.dataclass(frozen=True)
class StableVideoDiffusion:
    """The networks of a checkpoint, without weights; implements `Architecture`.

    Attributes:
      unet: config of the main network.
      image: the image encoder.
      vae: config of the autoencoder, None for a base that works on pixels.
      scheduler: fields of `scheduler_config.json`, its class as `_class_name`.
    """

    unet: TemporalUNetConfig
    image: SVDImageEncoder
    vae: AutoencoderKLTemporalDecoderConfig | None
    scheduler: Mapping[str, Any]
    rules: ClassVar[Rules] = RULES
    optional: ClassVar[tuple[str, ...]] = ()

    @property
    def components(self) -> dict[str, str | None]:
        """Component -> stem of its weights, as for `Checkpoint.fingerprint`."""
        vae = {} if self.vae is None else {"vae": DIFFUSERS_WEIGHTS}
        return {"unet": DIFFUSERS_WEIGHTS, **vae, "scheduler": None, **self.image.components}

    def abstract(self, setup: Setup) -> Family:
        """See `Architecture.abstract`."""
        dtype = jnp.dtype(setup.compute_dtype)
        latents, of_frames = self._latents(lambda: shapes_of(TEMPORAL_VAE.key_table(self.vae), dtype), dtype)
        return self._family(
            setup,
            {name: self._side(setup, None, name) for name in setup.conditions},
            load_frozen=partial(shapes_of, TEMPORAL_UNET.key_table(self.unet), jnp.dtype(setup.frozen_dtype)),
            latents=latents,
            conditioner=self.image.abstract(of_frames),
            write_main=not_read("A main network"),
            fingerprint="",
        )

    def load(self, setup: Setup, checkpoint: Checkpoint, placement: Placement = None) -> Family:
        """See `Architecture.load`. Each part of the checkpoint is read at its first use, and only then held.

        That the weights fit their configs is known from the files' headers before.
        """
        frozen_dtype, dtype = jnp.dtype(setup.frozen_dtype), jnp.dtype(setup.compute_dtype)
        TEMPORAL_UNET.check(checkpoint, "unet")
        if self.vae is not None:
            TEMPORAL_VAE.check(checkpoint, "vae")
        latents, of_frames = self._latents(lambda: TEMPORAL_VAE.read(checkpoint, "vae", dtype)[1], dtype)
        return self._family(
            setup,
            {name: self._side(setup, checkpoint, name) for name in setup.conditions},
            load_frozen=lambda: TEMPORAL_UNET.read(checkpoint, "unet", frozen_dtype, placement)[1],
            latents=latents,
            conditioner=self.image.load(checkpoint, of_frames),
            write_main=partial(self._write_main, checkpoint),
            fingerprint=checkpoint.fingerprint(self.components),
        )

    def write_index(self, folder: str | Path) -> None:
        """Write `model_index.json`: library and class of every component, as diffusers' pipelines read them."""
        components = {
            "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
            "vae": None if self.vae is None else ["diffusers", "AutoencoderKLTemporalDecoder"],
            "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
            "feature_extractor": ["transformers", "CLIPImageProcessor"],
            "scheduler": ["diffusers", self.scheduler["_class_name"]],
        }
        write_config(folder, components, "StableVideoDiffusionPipeline", name="model_index.json")

    def _family(self, setup: Setup, sides: Mapping[str, SideStart], **parts: Any) -> Family:
        check_setup(setup)
        settings = (jnp.dtype(setup.compute_dtype), setup.remat, setup.attention)
        networks = {
            name: temporal_side(side.config, *settings, setup.decoder_width, setup.births)
            for name, side in sides.items()
        }
        latents = parts["latents"]

        def write_side(target: str | Path, name: str, params: Params, dtype: jnp.dtype | None = None) -> None:
            TEMPORAL_CONTROLNET.write(target, sides[name].config, params, dtype)

        def check_export(
            folder: str | Path, params: Params, dtype: jnp.dtype, size: tuple[int, ...], *, verifies: bool
        ) -> Measured:
            return check_temporal_controlnet(folder, params, dtype, latents.shape(*size), verifies=verifies)

        return Family(
            model=DualBranch(*unet_functions(TemporalUNet(self.unet, *settings)), networks),
            process=process_of(self.scheduler),
            scheduler=self.scheduler,
            condition=UNIT_PICTURES,
            medium=VIDEO,
            rules=self.rules,
            read_start=lambda: {name: side.read_start() for name, side in sides.items()},
            write_side=write_side,
            check_export=check_export,
            usage=PIXEL_USAGE if self.vae is None else USAGE,
            size=self._size(),
            conditioning_channels=not_rgb({name: side.config.conditioning_channels for name, side in sides.items()}),
            sampling=SAMPLING,
            **parts,
        )

    def _size(self) -> tuple[int, int, int] | None:
        given = self.unet.sample_size
        if given is None:
            return None
        factor = self._patch if self.vae is None else self.vae.downsampling
        height, width = (given, given) if isinstance(given, int) else given
        return self.unet.num_frames, factor * height, factor * width

    def _latents(self, load_params: Callable[[], Params], dtype: jnp.dtype) -> tuple[LatentSpace, FrameLatents]:
        """Of videos, and of first frames beside them."""
        if self.vae is None:
            return pixel_videos(self._patch), lambda params, frames: patches(frames, self._patch)
        return temporal_latents(self.vae, load_params, dtype), partial(frame_latents, config=self.vae, dtype=dtype)

    @property
    def _patch(self) -> int:
        return patch_of(self.unet.out_channels)

    def _side(self, setup: Setup, checkpoint: Checkpoint | None, name: str) -> SideStart:
        start, channels = setup.start_from.get(name), setup.conditioning_channels.get(name)
        if start is not None:
            return continued_temporal_side(start, self.unet, channels)
        return copied_temporal_side(checkpoint, self.unet, setup.condition_channels, channels or RGB)

    def _write_main(self, checkpoint: Checkpoint, target: str | Path, main: Params) -> None:
        for component in self.components:
            if component != "unet":
                checkpoint.copy(component, Path(target) / component)
        TEMPORAL_UNET.write(Path(target) / "unet", self.unet, main)
        self.write_index(target)


def read_architecture(checkpoint: Checkpoint) -> StableVideoDiffusion:
    """The configs of a Stable Video Diffusion checkpoint.

    Raises:
      CheckpointError: a part that is missing, not supported, or does not fit the others, by name.
    """
    unet, image = TEMPORAL_UNET.config(checkpoint, "unet"), read_svd_image_encoder(checkpoint)
    check_context(checkpoint, unet, image)
    vae = TEMPORAL_VAE.config(checkpoint, "vae") if checkpoint.has("vae") else None
    check_latents(checkpoint, unet, vae)
    return StableVideoDiffusion(
        unet, image, vae, read_scheduler(checkpoint, EDM, "Stable Video Diffusion has continuous noise levels")
    )
