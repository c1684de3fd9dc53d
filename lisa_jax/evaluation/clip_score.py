"""CLIP score: does a picture show what its caption says?

Hessel et al., "CLIPScore", arXiv 2104.08718, in torchmetrics' scale: 100 max(cos, 0) of the embeddings of picture and
caption (Hessel et al. scale by 2.5 instead of 100). The number depends on the CLIP that computes it: give its name and
hash beside it.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from lisa_jax.checkpoints.checkpoint import CheckpointError, open_checkpoint
from lisa_jax.checkpoints.clip import CLIP, CLIPPreprocessing, read_clip_preprocessing
from lisa_jax.checkpoints.tokenizer import Tokenizer, load_tokenizer
from lisa_jax.models.clip import CLIPConfig, CLIPModel
from lisa_jax.models.clip_text import LEGACY_EOS_TOKEN_ID
from lisa_jax.parallel.compiling import Announced

PROTOCOL = "100 max(cos, 0) of CLIP's embeddings of picture and caption; mean over pictures"


class Clip(NamedTuple):
    """A CLIP ready to use: network, parameters, tokenizer and preprocessing."""

    config: CLIPConfig
    params: dict
    tokenizer: Tokenizer
    preprocessing: CLIPPreprocessing


def load_clip(folder: str | Path) -> Clip:
    """Load a CLIP folder as transformers writes it: config, safetensors, tokenizer and preprocessor files.

    Raises:
      CheckpointError: files that are missing, are not CLIP's or do not fit each other, by name.
    """
    checkpoint = open_checkpoint(folder)
    config, params = CLIP.read(checkpoint, dtype=jnp.float32)
    tokenizer, preprocessing = load_tokenizer(checkpoint), read_clip_preprocessing(checkpoint)
    text, vision = config.text, config.vision
    if tokenizer.vocab_size > text.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, but the text tower only {text.vocab_size}."
        )
    if text.eos_token_id not in (LEGACY_EOS_TOKEN_ID, tokenizer.eos_id):
        raise CheckpointError(
            f"{folder}: the text tower pools at token {text.eos_token_id}, but the tokenizer ends with "
            f"{tokenizer.eos_id}: eos_token_id in config.json must be the tokenizer's."
        )
    if tokenizer.max_length > text.max_position_embeddings:
        raise CheckpointError(
            f"{folder}: the tokenizer pads to {tokenizer.max_length} tokens, but the text tower takes "
            f"{text.max_position_embeddings}."
        )
    if preprocessing.crop != vision.image_size:
        raise CheckpointError(
            f"{folder}: pictures are cropped to {preprocessing.crop} px, but the image tower takes {vision.image_size}."
        )
    return Clip(config, jax.device_put(params), tokenizer, preprocessing)


def clip_scores(clip: Clip, images: np.ndarray, captions: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """Score of each picture for its caption; their mean is *the* CLIP score.

    torchmetrics cuts the mean off at zero rather than each score; the two differ only where a cosine is negative.

    Args:
      images: uint8 (n, H, W, 3).
      captions: n strings; tokens past the text tower's length are cut off.
      batch_size: pictures at once.

    Returns:
      float64 (n,), 0 to 100.
    Raises:
      ValueError: pictures that are not uint8 (n, H, W, 3), none at all, or another number of captions.
    """
    if not len(images):
        raise ValueError("There are no pictures to score.")
    if len(images) != len(captions):
        raise ValueError(f"There are {len(images)} pictures but {len(captions)} captions: give one each.")
    pictures, texts = embed_images(clip, images, batch_size), embed_captions(clip, captions, batch_size)
    cosine = np.sum(pictures.astype(np.float64) * texts, axis=-1)
    return 100 * np.maximum(cosine / (np.linalg.norm(pictures, axis=-1) * np.linalg.norm(texts, axis=-1)), 0)


def embed_images(clip: Clip, images: np.ndarray, batch_size: int = 32) -> np.ndarray:
    """Embeddings, not normalised: float32 (n, projection_dim) from uint8 (n, H, W, 3)."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"pictures must be uint8 (n, H, W, 3), but are {images.dtype} {images.shape}.")

    def embed(part: np.ndarray) -> jax.Array:
        pixels = preprocess(part, clip.preprocessing)
        return _embed(clip.params, pixels, config=clip.config, method="embed_images")

    return _in_batches(embed, images, batch_size)


def embed_captions(clip: Clip, captions: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """Embeddings, not normalised: float32 (n, projection_dim)."""
    ids = clip.tokenizer(captions)

    def embed(part: np.ndarray) -> jax.Array:
        return _embed(clip.params, part, config=clip.config, method="embed_text")

    return _in_batches(embed, ids, batch_size)


def preprocess(images: np.ndarray, preprocessing: CLIPPreprocessing) -> np.ndarray:
    """What transformers' `CLIPImageProcessor` with Pillow makes of pictures.

    The shorter side is resized to `shortest_edge` by Pillow's bicubic filter, a square is cut from the middle, and
    values from 0 to 1 are normalised.

    Args:
      images: uint8 (n, H, W, 3).

    Returns:
      float32 (n, crop, crop, 3).
    """
    height, width = images.shape[1:3]
    edge, crop = preprocessing.shortest_edge, preprocessing.crop
    scaled = (edge, int(edge * height / width)) if width <= height else (int(edge * width / height), edge)
    left, top = (scaled[0] - crop) // 2, (scaled[1] - crop) // 2
    box = (left, top, left + crop, top + crop)
    cut = [Image.fromarray(image).resize(scaled, Image.Resampling.BICUBIC).crop(box) for image in images]
    mean, std = np.float32(preprocessing.mean), np.float32(preprocessing.std)
    return (np.stack(cut).astype(np.float32) / np.float32(255) - mean) / std


@functools.partial(Announced, what="the network of CLIP scores", position=1, static_argnames=("config", "method"))
def _embed(params: dict, inputs: jax.Array, *, config: CLIPConfig, method: str) -> jax.Array:
    # In full float32 on every device, so that a score does not depend on where it was computed.
    with jax.default_matmul_precision("float32"):
        return CLIPModel(config).apply({"params": params}, jnp.asarray(inputs), method=method)


def _in_batches(function: Callable[[np.ndarray], jax.Array], inputs: np.ndarray, size: int) -> np.ndarray:
    """`function` of parts of one size, so that it compiles once; the last part is filled up with zeros."""
    size = min(size, len(inputs))
    parts = []
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        filled = np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
        parts.append(np.asarray(function(filled))[: len(part)])
    return np.concatenate(parts)
