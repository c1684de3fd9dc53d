"""What Stable Video Diffusion knows of a video: its first frame, twice, frames a second, motion and noise.

As diffusers' `StableVideoDiffusionPipeline`: an embedding of the frame as it is, the latents of the frame with noise
added to its pixels, and three numbers. Training draws the level of that noise for each row by itself.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lisa_jax.checkpoints.checkpoint import Checkpoint, CheckpointError
from lisa_jax.checkpoints.clip import CLIPPreprocessing, read_clip_preprocessing
from lisa_jax.checkpoints.clip_vision import CLIP_VISION_WITH_PROJECTION
from lisa_jax.checkpoints.weight_files import TRANSFORMERS_WEIGHTS
from lisa_jax.dual_branch import Params, Tree
from lisa_jax.families.abstract import no_weights
from lisa_jax.families.antialiased_resize import antialiased_resize
from lisa_jax.families.conditioner import Conditioner
from lisa_jax.models.clip_vision import CLIPVisionConfig, CLIPVisionModelWithProjection

# Side of what the pipeline feeds the image encoder with.
ENCODED_SIDE = 224
# The pipeline's `motion_bucket_id`, of every example that tells none.
MOTION = 127
# Noise on the pixels of the first frame: its level in sampling, the pipeline's `noise_aug_strength`; in training its
# logarithm is normal.
SAMPLING_NOISE = 0.02
LOG_NOISE_MEAN, LOG_NOISE_STD = -3.0, 0.5
EMBEDS, LATENTS, TIME_IDS, FRAME = "image_embeds", "image_latents", "time_ids", "first_frame"
# Each as often as the others: the embedding is dropped, both, the latents.
DROPS = ((EMBEDS,), (EMBEDS, LATENTS), (LATENTS,))
# (parameters of the latent space, frames (n, H, W, 3) in [-1, 1]) -> their latents, float32 (n, h, w, c).
FrameLatents = Callable[[Params, jax.Array], jax.Array]


def svd_conditioner(
    encoder: CLIPVisionConfig,
    preprocessing: CLIPPreprocessing,
    frame_latents: FrameLatents,
    load_params: Callable[[], Params],
) -> Conditioner:
    """Examples to what the UNet of Stable Video Diffusion knows of them.

    Args:
      encoder: of the image encoder.
      preprocessing: mean and standard deviation of its pixels.
      frame_latents: of the noisy frames, with the parameters of the latent space, which `draw` takes.
      load_params: reads the image encoder's weights.

    Returns:
      A conditioner that reads of an example its `first_frame`, uint8 (H, W, 3), `fps` and, where it is told, `motion`,
      else 127. Its contexts are kept as
        "image_embeds": float32 (n, 1, projection_dim), of the frame as it is;
        "first_frame": uint8 (n, H, W, 3);
        "time_ids": int32 (n, 2), frames a second, less one, and motion;
      and drawn, in place of the frame and the ids, have
        "image_latents": float32 (n, h, w, c), of the noisy frame;
        "time_ids": float32 (n, 3), with the level of the noise in the end.
    """

    def encode(params: Params, rows: Tree) -> dict[str, jax.Array]:
        pixels = encoder_pixels(rows[FRAME], preprocessing)
        embeds = CLIPVisionModelWithProjection(encoder).apply({"params": params}, pixels)
        return {EMBEDS: embeds[:, None], **rows}

    def draw(params: Params, context: Tree, keys: jax.Array, *, training: bool) -> dict[str, jax.Array]:
        level_keys, noise_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
        frame = context[FRAME].astype(jnp.float32) / 127.5 - 1.0
        noise = jax.vmap(partial(jax.random.normal, shape=frame.shape[1:]))(noise_keys)
        levels = jax.vmap(_training_level)(level_keys) if training else jnp.full(len(frame), SAMPLING_NOISE)
        latents = frame_latents(params, frame + levels[:, None, None, None] * noise)
        time_ids = jnp.column_stack([context[TIME_IDS].astype(jnp.float32), levels])
        return {EMBEDS: context[EMBEDS], LATENTS: latents, TIME_IDS: time_ids}

    def null(context: Tree, empty: Tree) -> Tree:
        """Zeros in place of embedding and latents; the time ids stay."""
        return {name: leaf if name == TIME_IDS else jnp.zeros_like(leaf) for name, leaf in context.items()}

    def shapes(size: tuple[int, ...]) -> Tree:
        return {
            EMBEDS: jax.ShapeDtypeStruct((1, encoder.projection_dim), jnp.float32),
            FRAME: jax.ShapeDtypeStruct((*size[-2:], 3), jnp.uint8),
            TIME_IDS: jax.ShapeDtypeStruct((2,), jnp.int32),
        }

    return Conditioner(
        load_params, _read, encode, null, shapes, sees_pictures=True, reads_captions=False, draw=draw, drops=DROPS
    )


def _read(examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """First frames, uint8 (n, H, W, 3), and time ids, int32 (n, 2)."""
    for name in (FRAME, "fps"):
        if any(name not in example for example in examples):
            raise ValueError(
                f"An example tells no {name} of its video, which Stable Video Diffusion is to know: prepare the data "
                "set again, with --frames."
            )
    time_ids = [(round(example["fps"]) - 1, example.get("motion", MOTION)) for example in examples]
    return {FRAME: np.stack([example[FRAME] for example in examples]), TIME_IDS: np.asarray(time_ids, np.int32)}


def _training_level(key: jax.Array) -> jax.Array:
    return jnp.exp(LOG_NOISE_MEAN + LOG_NOISE_STD * jax.random.normal(key))


def encoder_pixels(frames: jax.Array, preprocessing: CLIPPreprocessing) -> jax.Array:
    """Frames, uint8 (n, H, W, 3), as the pipeline's `_encode_image` feeds its encoder: float32 (n, 224, 224, 3)."""
    resized = antialiased_resize(frames.astype(jnp.float32) / 127.5 - 1.0, ENCODED_SIDE)
    return ((resized + 1.0) / 2.0 - jnp.asarray(preprocessing.mean)) / jnp.asarray(preprocessing.std)


@dataclasses.dataclass(frozen=True)
class SVDImageEncoder:
    """The image encoder of a checkpoint, without weights.

    Attributes:
      encoder: config of `image_encoder`.
      preprocessing: of `feature_extractor`.
    """

    encoder: CLIPVisionConfig
    preprocessing: CLIPPreprocessing

    @property
    def components(self) -> dict[str, str | None]:
        """Component -> stem of its weights, as for `Checkpoint.fingerprint`."""
        return {"image_encoder": TRANSFORMERS_WEIGHTS, "feature_extractor": None}

    def abstract(self, frame_latents: FrameLatents) -> Conditioner:
        """The conditioner of the architecture alone, which encodes no pictures."""
        return svd_conditioner(self.encoder, self.preprocessing, frame_latents, no_weights)

    def load(self, checkpoint: Checkpoint, frame_latents: FrameLatents) -> Conditioner:
        """The conditioner of a checkpoint; weights are read at their first use, in float32.

        Raises:
          CheckpointError: weights that are missing or do not fit their config, by name.
        """
        CLIP_VISION_WITH_PROJECTION.check(checkpoint, "image_encoder")

        def load_params() -> Params:
            return CLIP_VISION_WITH_PROJECTION.read(checkpoint, "image_encoder", jnp.float32)[1]

        return svd_conditioner(self.encoder, self.preprocessing, frame_latents, load_params)


def read_svd_image_encoder(checkpoint: Checkpoint) -> SVDImageEncoder:
    """The configs of a checkpoint's image encoder and its preprocessing.

    Raises:
      CheckpointError: a config that is missing or not supported, by file and field.
    """
    encoder = CLIP_VISION_WITH_PROJECTION.config(checkpoint, "image_encoder")
    check_image_encoder(encoder, checkpoint.where("image_encoder", "config.json"))
    return SVDImageEncoder(encoder, read_clip_preprocessing(checkpoint, "feature_extractor"))


def check_image_encoder(encoder: CLIPVisionConfig, where: object) -> None:
    """Raise CheckpointError where the image encoder takes pictures of another size than diffusers' pipeline makes."""
    if encoder.image_size != ENCODED_SIDE:
        raise CheckpointError(
            f"{where}: image_size {encoder.image_size} is not supported: diffusers' pipeline feeds the image encoder "
            f"with pictures of {ENCODED_SIDE} x {ENCODED_SIDE}."
        )
