"""What is computed once so that training need not: posterior moments of images and contexts of captions, in bf16."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from lisa_jax.data.buckets import Size
from lisa_jax.families.encoders import load_encoders
from lisa_jax.families.family import TEXT_BATCH, LatentSpace, TextSpace
from lisa_jax.families.pixels import PIXELS
from lisa_jax.preparing.examples import Example


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What is to be cached.

    Attributes:
      latents: the latent space whose moments are cached, or None.
      text: the text encoder whose contexts are cached, or None.
      fingerprint: of the base, or None where nothing is cached.
      batch_size: images encoded at once.
    """

    latents: LatentSpace | None = None
    text: TextSpace | None = None
    fingerprint: str | None = None
    batch_size: int = 8

    def null_context(self) -> np.ndarray | None:
        """Context of the empty caption, float32 (1, length, width)."""
        return None if self.text is None else np.asarray(self.text([""]), np.float32)

    def moments_shapes(self, sizes: Sequence[Size]) -> tuple[tuple[int, int, int], ...] | None:
        """Shape of the moments of images of each size; raises ValueError for a size that the base does not take."""
        if self.latents is None:
            return None
        shapes = []
        for height, width in sizes:
            self.latents.shape(height, width)
            image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
            shapes.append(jax.eval_shape(self.latents.moments, self.latents.params, image).shape[1:])
        return tuple(shapes)


def load_encoding(base: str | Path | None, cache: Collection[str], batch_size: int) -> Encoding:
    """Load of a base what the cache needs; of the main network nothing but its fingerprint.

    Raises:
      ValueError: nothing to encode with, or an unknown kind of cache.
      CheckpointError: the base is not whole.
    """
    unknown = set(cache) - {"moments", "context"}
    if unknown:
        raise ValueError(f"Unknown cache '{sorted(unknown)[0]}': there are moments, context and none.")
    if not cache:
        return Encoding()
    if not base:
        raise ValueError(f"To cache {' and '.join(sorted(cache))}, give the --base that trains later; or --cache=none.")
    encoders = load_encoders(base)
    if "moments" in cache and encoders.latents is PIXELS:
        raise ValueError(f"{base} has no VAE, so there are no moments to cache: use --cache=context or --cache=none.")
    devices = jax.local_device_count()
    if batch_size % devices:
        raise ValueError(f"batch_size is {batch_size}, but must be a multiple of the {devices} devices.")
    return Encoding(
        encoders.latents if "moments" in cache else None,
        encoders.text if "context" in cache else None,
        encoders.fingerprint,
        batch_size,
    )


def with_contexts(examples: Iterable[Example], text: TextSpace | None) -> Iterator[Example]:
    """The same examples in the same order, with `context` as bfloat16 (length, width); equal captions share theirs."""
    examples = iter(examples)
    while block := list(islice(examples, TEXT_BATCH)):
        if text is not None:
            captions = sorted({example.caption for example in block})
            contexts = dict(zip(captions, text(captions).astype(ml_dtypes.bfloat16), strict=True))
            for example in block:
                example.context = contexts[example.caption]
        yield from block


def batches_of_one_size(examples: Iterable[Example], batch_size: int) -> Iterator[list[Example]]:
    """Up to batch_size examples of the same size each: full ones as they fill up, the rest at the end."""
    waiting: dict[int, list[Example]] = {}
    for example in examples:
        batch = waiting.setdefault(example.size_index, [])
        batch.append(example)
        if len(batch) == batch_size:
            yield waiting.pop(example.size_index)
    for size_index in sorted(waiting):
        yield waiting[size_index]


def moments_encoder(encoding: Encoding) -> Callable[[Sequence[np.ndarray]], np.ndarray] | None:
    """Images uint8 (H, W, 3), batch_size of them at most -> moments bfloat16 (n, h, w, m); one program a size."""
    if encoding.latents is None:
        return None
    devices = np.asarray(jax.local_devices())
    mesh = jax.sharding.Mesh(devices, ("data",))
    rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    params = jax.device_put(encoding.latents.params, whole)

    @jax.jit
    def encode(params, images):
        return encoding.latents.moments(params, images).astype(jnp.bfloat16)

    def moments(images: Sequence[np.ndarray]) -> np.ndarray:
        # Filled up to one size, so that one compiled program serves all.
        padded = np.stack([*images, *[images[0]] * (encoding.batch_size - len(images))])
        return np.asarray(encode(params, jax.device_put(padded, rows)))[: len(images)]

    return moments
