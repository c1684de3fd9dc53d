"""A new, small Stable Video Diffusion folder with random weights, to be pretrained."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from lisa_jax.checkpoints.clip_vision import CLIP_VISION_WITH_PROJECTION
from lisa_jax.checkpoints.config_files import write_config
from lisa_jax.checkpoints.temporal_unet import TEMPORAL_UNET
from lisa_jax.families.pixels import PIXEL_CHANNELS
from lisa_jax.families.stable_video_diffusion import StableVideoDiffusion
from lisa_jax.families.stable_video_diffusion_checks import TIME_IDS
from lisa_jax.families.stable_video_diffusion_presets import PREPROCESSING, write_preprocessing
from lisa_jax.families.svd_conditioner import ENCODED_SIDE, SVDImageEncoder
from lisa_jax.models.clip_vision import CLIPVisionConfig, CLIPVisionModelWithProjection
from lisa_jax.models.temporal_unet import TemporalUNet, TemporalUNetConfig
from lisa_jax.parallel.compiling import Announced

SCHEDULER_CLASS = "EulerDiscreteScheduler"
# As of the published checkpoints; what it says of discrete steps is not used.
SCHEDULER = {
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}
# Width of the sinusoids of each time id.
TIME_ID_WIDTH = 32


def write_new_base(folder: str | Path, config: ConfigDict, captions: Sequence[str]) -> None:
    """Write `model_index.json`, `unet`, `scheduler`, `image_encoder` and `feature_extractor`; it works on pixels.

    The image encoder is a shallow CLIP vision model with random weights that stay as they are: what the UNet cannot
    read of it it sees in the first frame itself.

    Args:
      folder: where the base goes.
      config: fields seed, temporal_unet, image_encoder, scheduler, data.image_size, as in
        `configs/figures_video_base.py`.
      captions: of the training examples; nothing reads them.

    Raises:
      ValueError: widths or sizes that do not divide, by field.
    """
    del captions
    folder = Path(folder)
    unet_key, image_key = jax.random.split(jax.random.key(config.seed))
    unet, encoder = small_temporal_unet_config(config), _small_vision_config(config.image_encoder)
    pixels = jnp.zeros((1, ENCODED_SIDE, ENCODED_SIDE, PIXEL_CHANNELS))
    init = Announced(CLIPVisionModelWithProjection(encoder).init, "the first image encoder", position=1)
    image_params = init(image_key, pixels)["params"]
    CLIP_VISION_WITH_PROJECTION.write(folder / "image_encoder", encoder, image_params)
    write_preprocessing(folder / "feature_extractor", PREPROCESSING)
    side = unet.sample_size
    inputs = (jnp.zeros((1, 1, side, side, unet.out_channels)), jnp.zeros((1,)), _context(unet))
    init = Announced(TemporalUNet(unet).init, "the first UNet", position=1)
    TEMPORAL_UNET.write(folder / "unet", unet, init(unet_key, *inputs)["params"])
    scheduler = SCHEDULER | dict(config.scheduler)
    write_config(folder / "scheduler", scheduler, SCHEDULER_CLASS, name="scheduler_config.json")
    image = SVDImageEncoder(encoder, PREPROCESSING)
    StableVideoDiffusion(unet, image, None, {"_class_name": SCHEDULER_CLASS} | scheduler).write_index(folder)


def small_temporal_unet_config(config: ConfigDict) -> TemporalUNetConfig:
    """UNet config of the fields `temporal_unet`, `image_encoder.width` and `data.image_size` of a pretraining config.

    Raises:
      ValueError: frames that the patches do not fill, or a field that the UNet does not support, by name.
    """
    network, (frames, height, width) = config.temporal_unet, config.data.image_size
    if height % network.patch_size or width % network.patch_size:
        raise ValueError(
            f"config.temporal_unet.patch_size is {network.patch_size}, but must divide the sides of "
            f"config.data.image_size, {height} x {width}."
        )
    channels = PIXEL_CHANNELS * network.patch_size**2
    cross = network.cross_attention_levels
    return TemporalUNetConfig(
        sample_size=height // network.patch_size,
        num_frames=frames,
        in_channels=2 * channels,
        out_channels=channels,
        block_out_channels=tuple(network.block_out_channels),
        down_block_types=tuple(f"{'CrossAttn' if level else ''}DownBlockSpatioTemporal" for level in cross),
        up_block_types=tuple(f"{'CrossAttn' if level else ''}UpBlockSpatioTemporal" for level in reversed(cross)),
        layers_per_block=network.layers_per_block,
        num_attention_heads=tuple(network.heads),
        cross_attention_dim=config.image_encoder.width,
        addition_time_embed_dim=TIME_ID_WIDTH,
        projection_class_embeddings_input_dim=TIME_IDS * TIME_ID_WIDTH,
    )


def _context(unet: TemporalUNetConfig) -> dict[str, jax.Array]:
    shapes = unet.context_shapes(unet.sample_size, unet.sample_size)
    return {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}


def _small_vision_config(image: ConfigDict) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=image.width,
        intermediate_size=4 * image.width,
        num_hidden_layers=image.layers,
        num_attention_heads=image.heads,
        image_size=ENCODED_SIDE,
        patch_size=ENCODED_SIDE // 4,
        projection_dim=image.width,
    )
