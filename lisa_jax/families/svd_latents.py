"""The latent space of a base of videos whose VAE decodes along time (diffusers' `AutoencoderKLTemporalDecoder`)."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from lisa_jax.dual_branch import Params
from lisa_jax.families.autoencoder import drawn, to_pixels
from lisa_jax.families.family import LatentSpace
from lisa_jax.models.temporal_vae import AutoencoderKLTemporalDecoder, AutoencoderKLTemporalDecoderConfig

# Frames that are decoded together unless asked otherwise: decoding looks along time, so that another number gives other
# videos.
DECODE_CHUNK = 14


def temporal_latents(
    config: AutoencoderKLTemporalDecoderConfig,
    load_params: Callable[[], Params],
    dtype: jnp.dtype = jnp.float32,
    decode_chunk: int = DECODE_CHUNK,
) -> LatentSpace:
    """The latent space: videos uint8 (n, F, H, W, 3), latents (n, F, H / f, W / f, latent_channels).

    Args:
      config: of the autoencoder.
      load_params: reads its weights.
      dtype: of computation.
      decode_chunk: frames that are decoded together, the `decode_chunk_size` of `StableVideoDiffusionPipeline` for one
        video; the last ones of a video may be fewer.
    """
    model = AutoencoderKLTemporalDecoder(config, dtype)
    factor = config.downsampling

    def moments(params: Params, videos: jax.Array) -> jax.Array:
        """Mean and log-variance of every frame, not scaled: float32 (n, F, h, w, 2c)."""

        def of_frame(frames: jax.Array) -> jax.Array:
            x = frames.astype(jnp.float32) / 127.5 - 1.0
            return model.apply({"params": params}, x, method="encode").astype(jnp.float32)

        # Frame by frame: together they would take so many times the memory.
        return jnp.moveaxis(jax.lax.map(of_frame, jnp.moveaxis(videos, 1, 0)), 0, 1)

    def sample(moments: jax.Array, key: jax.Array) -> jax.Array:
        return drawn(moments, key) * config.scaling_factor

    def decode(params: Params, latents: jax.Array) -> jax.Array:
        def of_chunk(z: jax.Array) -> jax.Array:
            return to_pixels(model.apply({"params": params}, z, method="decode"))

        return in_chunks(of_chunk, latents.astype(jnp.float32) / config.scaling_factor, decode_chunk)

    def shape(*size: int) -> tuple[int, int, int, int]:
        frames, height, width = video_size(size)
        check_frame_size(height, width, factor, "its VAE")
        return frames, height // factor, width // factor, config.latent_channels

    in_chunks_of = partial(temporal_latents, config, load_params, dtype)
    return LatentSpace(load_params, moments, sample, decode, shape, draws=True, in_chunks_of=in_chunks_of)


def frame_latents(
    params: Params, frames: jax.Array, config: AutoencoderKLTemporalDecoderConfig, dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """The mean of each frame's posterior, not scaled: float32 (n, h, w, c) of frames (n, H, W, 3) in [-1, 1]."""
    moments = AutoencoderKLTemporalDecoder(config, dtype).apply({"params": params}, frames, method="encode")
    return moments[..., : config.latent_channels].astype(jnp.float32)


def video_size(size: tuple[int, ...]) -> tuple[int, int, int]:
    """Frames, height and width of a size; raises ValueError for one that is not of videos."""
    if len(size) != 3:
        raise ValueError(f"This base makes videos of (F, H, W), but data.image_size is {' x '.join(map(str, size))}.")
    return size


def check_frame_size(height: int, width: int, factor: int, what: str) -> None:
    """Raise ValueError for frames that cannot be made `factor` times smaller, which `what` needs."""
    if height % factor or width % factor:
        raise ValueError(
            f"Videos of {height} x {width} do not fit this base: {what} needs height and width to be multiples of "
            f"{factor}."
        )


def in_chunks(function: Callable[[jax.Array], jax.Array], videos: jax.Array, size: int) -> jax.Array:
    """A function of videos (n, f, ...) of so many frames at a time, one after the other; the rest is its own."""
    frames = videos.shape[1]
    whole = frames // size * size
    parts = []
    if whole:
        chunks = jnp.moveaxis(videos[:, :whole].reshape(len(videos), -1, size, *videos.shape[2:]), 1, 0)
        found = jnp.moveaxis(jax.lax.map(function, chunks), 0, 1)
        parts.append(found.reshape(len(videos), whole, *found.shape[3:]))
    if whole < frames:
        parts.append(function(videos[:, whole:]))
    return jnp.concatenate(parts, axis=1)
