"""The published Stable Video Diffusion architectures, and one with the same switches at a thousandth of the size.

The small one has two of the four levels of the UNet, one with attention and one without: compiling takes minutes.

`svd` makes 14 frames, `svd_xt` 25.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from lisa_jax.checkpoints.clip import CLIPPreprocessing
from lisa_jax.checkpoints.clip_vision import CLIP_VISION_WITH_PROJECTION
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.temporal_unet import TEMPORAL_UNET
from lisa_jax.checkpoints.temporal_vae import TEMPORAL_VAE
from lisa_jax.families.random_weights import random_tree
from lisa_jax.families.schedulers import write_scheduler
from lisa_jax.families.stable_video_diffusion import StableVideoDiffusion
from lisa_jax.families.svd_conditioner import ENCODED_SIDE, SVDImageEncoder
from lisa_jax.models.clip_vision import CLIPVisionConfig
from lisa_jax.models.temporal_unet import TemporalUNetConfig
from lisa_jax.models.temporal_vae import AutoencoderKLTemporalDecoderConfig
from lisa_jax.models.vae import DOWN_BLOCK


@dataclasses.dataclass(frozen=True)
class StableVideoDiffusionPreset:
    """Everything about a Stable Video Diffusion checkpoint but its weights; implements `Preset`.

    Attributes:
      unet, vae, encoder: configs of the networks.
      scheduler: fields of `scheduler_config.json`, its class as `_class_name`.
    """

    unet: TemporalUNetConfig
    vae: AutoencoderKLTemporalDecoderConfig
    encoder: CLIPVisionConfig
    scheduler: Mapping

    @property
    def architecture(self) -> StableVideoDiffusion:
        """The networks."""
        return StableVideoDiffusion(self.unet, SVDImageEncoder(self.encoder, PREPROCESSING), self.vae, self.scheduler)

    @property
    def image_size(self) -> int:
        """Side of the frames that the model was made for."""
        return self.unet.sample_size * self.vae.downsampling

    def write(self, folder: Path, seed: int) -> None:
        """Write a folder in float32 that `StableVideoDiffusionPipeline.from_pretrained` loads, with random weights."""
        for name, component, config in (
            ("unet", TEMPORAL_UNET, self.unet),
            ("vae", TEMPORAL_VAE, self.vae),
            ("image_encoder", CLIP_VISION_WITH_PROJECTION, self.encoder),
        ):
            component.write(folder / name, config, random_tree(component.key_table(config), seed))
        write_preprocessing(folder / "feature_extractor", PREPROCESSING)
        write_scheduler(folder, self.scheduler)
        self.architecture.write_index(folder)


def write_preprocessing(folder: Path, preprocessing: CLIPPreprocessing) -> None:
    """Write `preprocessor_config.json`, as transformers' `CLIPImageProcessor` reads it."""
    fields = {
        "image_processor_type": "CLIPImageProcessor",
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "crop_size": {"height": preprocessing.crop, "width": preprocessing.crop},
        "size": {"shortest_edge": preprocessing.shortest_edge},
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    write_config(folder, fields, name="preprocessor_config.json")


# CLIP's, whatever the size of the image encoder.
PREPROCESSING = CLIPPreprocessing()


def _vae(channels: tuple[int, ...], sample_size: int) -> AutoencoderKLTemporalDecoderConfig:
    return AutoencoderKLTemporalDecoderConfig(
        block_out_channels=channels, down_block_types=(DOWN_BLOCK,) * len(channels), sample_size=sample_size
    )


_SVD = StableVideoDiffusionPreset(
    unet=TemporalUNetConfig(sample_size=96, num_frames=14),
    vae=_vae((128, 256, 512, 512), sample_size=768),
    # ViT-H of OpenCLIP.
    encoder=CLIPVisionConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=16,
        image_size=ENCODED_SIDE,
        patch_size=14,
        hidden_act="gelu",
        projection_dim=1024,
    ),
    scheduler=MappingProxyType(
        {
            "_class_name": "EulerDiscreteScheduler",
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "interpolation_type": "linear",
            "num_train_timesteps": 1000,
            "prediction_type": "v_prediction",
            "sigma_max": 700.0,
            "sigma_min": 0.002,
            "steps_offset": 1,
            "timestep_spacing": "leading",
            "timestep_type": "continuous",
            "trained_betas": None,
            "use_karras_sigmas": True,
        }
    ),
)
_TINY = StableVideoDiffusionPreset(
    # Norms have 32 groups whatever a config says.
    unet=dataclasses.replace(
        _SVD.unet,
        sample_size=8,
        num_frames=4,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        num_attention_heads=(1, 2),
        cross_attention_dim=32,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
    ),
    vae=_vae((32, 32, 32, 32), sample_size=64),
    encoder=dataclasses.replace(
        _SVD.encoder,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=56,
        projection_dim=32,
    ),
    scheduler=_SVD.scheduler,
)
PRESETS: Mapping[str, StableVideoDiffusionPreset] = MappingProxyType(
    {
        "svd": _SVD,
        "svd_xt": dataclasses.replace(_SVD, unet=dataclasses.replace(_SVD.unet, num_frames=25)),
        "tiny_svd": _TINY,
    }
)
